"""What is said of many runs at once: counts of verdicts, dates, what is unfinished."""

from collections import Counter
from collections.abc import Sequence
from datetime import date

from tenfold.lab.report._records import ClaimRecord, RunRecord, Unit

_STATES = {
    "running": "has not ended",
    "interrupted": "was interrupted",
    "failed": "has failed",
}
OUTCOMES = ("holds", "fails", "unclear")


def counts(records: Sequence[RunRecord]) -> Counter[str]:
    """Claims per verdict; sabotaged runs are left out, since there a claim must fail."""
    return Counter(
        claim.verdict.outcome for run in records if not run.sabotage for claim in run.claims
    )


def controls(records: Sequence[RunRecord]) -> tuple[int, int]:
    """Negative controls: claims that failed as they must, and all that must."""
    outcomes = [
        claim.verdict.outcome for run in records for claim in run.claims if must_fail(run, claim)
    ]
    return outcomes.count("fails"), len(outcomes)


def must_fail(run: RunRecord, claim: ClaimRecord) -> bool:
    """Whether this run is the sabotage that must turn this claim to `fails`."""
    return run.sabotage is not None and run.sabotage == claim.claim.sabotage


def sentence(records: Sequence[RunRecord]) -> str:
    """The counts in words: `5 hold, 1 fails, 2 are unclear`."""
    number = counts(records)
    held, failed, unclear = (number[outcome] for outcome in OUTCOMES)
    words = [
        f"{held} hold{'s' if held == 1 else ''}",
        f"{failed} fail{'s' if failed == 1 else ''}",
        f"{unclear} {'is' if unclear == 1 else 'are'} unclear",
    ]
    passed, total = controls(records)
    if total:
        words.append(f"negative controls: {passed} of {total} failed as they must")
    return ", ".join(words)


def when(records: Sequence[RunRecord]) -> str:
    """The day, or the first and last day, on which the runs were made."""
    days = sorted({_day(run.created) for run in records})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "no run"


def _day(created: str) -> str:
    try:
        return date.fromisoformat(created[:10]).isoformat()
    except ValueError:
        return created


def trouble(run: RunRecord) -> list[str]:
    """One sentence for each thing that keeps this run from being complete."""
    said = []
    if run.state != "done":
        finished = len(run.units) - len(run.unfinished)
        state = _STATES.get(run.state, f"is {run.state}")
        said.append(f"The run {state}: {finished} of {len(run.units)} units are finished.")
    for state, word in (("failed", "Failed"), ("running", "Unfinished"), ("pending", "Not begun")):
        units = [unit for unit in run.unfinished if unit.state == state]
        if units:
            said.append(f"{word}: {'; '.join(_unit(unit) for unit in units)}.")
    if run.state != "done" and not run.claims:
        said.append("No claim has been judged yet.")
    return said


def _unit(unit: Unit) -> str:
    name = f"{unit.arm}, seed {unit.seed}"
    return f"{name} ({unit.error.rstrip('.')})" if unit.error else name
