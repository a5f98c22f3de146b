"""The table of claims for a README or a page of documentation."""

from collections.abc import Sequence

from tenfold.lab.report._numbers import describe, pretty
from tenfold.lab.report._records import RunRecord


def claims_markdown(records: Sequence[RunRecord]) -> str:
    """A Markdown table with a row for each claim: what it says, what was measured, the verdict."""
    rows = [("Claim", "Measured, 95 % interval", "Needs", "Verdict"), ("---",) * 4]
    for run in records:
        for record in run.claims:
            words = describe(record)
            measured = f"**{words.value}** {words.interval}"
            needs = words.needs.removeprefix("needs ")
            rows.append((record.claim.says, measured, needs, record.verdict.outcome))
    return "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in rows)


def _cell(said: str) -> str:
    return pretty(" ".join(said.split())).replace("|", r"\|")
