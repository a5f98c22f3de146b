"""The table of claims for a terminal; plain enough for a pipe at 80 columns."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenfold.lab.report._numbers import describe, paper_direction, paper_numbers
from tenfold.lab.report._records import ClaimRecord, RunRecord
from tenfold.lab.report._summary import must_fail, sentence, trouble

_COLOURS = {"holds": "bold green", "fails": "bold red", "unclear": "bold yellow"}


def claims_table(records: Sequence[RunRecord]) -> Table:
    """A rich table with a row for each claim: claim, paper, measured with interval, verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    table.add_column("claim", ratio=10, overflow="fold")
    table.add_column("paper", ratio=6, overflow="fold")
    table.add_column("measured, 95 % interval", ratio=10, overflow="fold")
    table.add_column("verdict", no_wrap=True, min_width=7)
    for run in records:
        for claim in run.claims:
            table.add_row(*_row(run, claim))
        table.add_section()
    return table


def print_claims(records: Sequence[RunRecord], console: Console) -> None:
    """Prints the table, the counts, and what is unfinished; no colour unless to a terminal."""
    with console.capture() as capture:
        if any(run.claims for run in records):
            console.print(claims_table(records))
        console.print(_plain(sentence(records)))
        for run in records:
            for said in trouble(run):
                console.print(_plain(f"{run.study} {run.preset}: {said}"))
    text = capture.get()
    encoding = console.encoding or "utf-8"
    console.file.write(text.encode(encoding, "replace").decode(encoding))


def _row(run: RunRecord, record: ClaimRecord) -> list[Text]:
    claim, words = record.claim, describe(record)
    name = claim.id if run.preset == "small" else f"{claim.id} ({run.preset})"
    said = _stack((name, "bold"), (claim.says, ""))
    if run.sabotage:
        said.append_text(_stack(("", ""), (f"sabotaged: {run.sabotage}", "italic")))
    notes = [(note, "dim") for note in (words.needs, record.verdict.note) if note]
    measured = _stack((words.value, "bold"), (words.interval, ""), (words.sides, ""), *notes)
    return [said, _paper(record), measured, _verdict(run, record)]


def _paper(record: ClaimRecord) -> Text:
    numbers = paper_numbers(record)
    lines = [(numbers[0], "bold"), (numbers[1], "")] if numbers else [("-", "")]
    if not numbers or record.claim.scale:
        lines.append((f"direction only: {paper_direction(record)}", "dim"))
    if record.claim.scale:
        lines.append((f"different scale: {record.claim.scale}", "dim"))
    return _stack(*lines)


def _verdict(run: RunRecord, record: ClaimRecord) -> Text:
    outcome = record.verdict.outcome
    if not must_fail(run, record):
        return _plain(outcome, _COLOURS[outcome])
    note = "as it must" if outcome == "fails" else "must fail"
    return _stack((outcome, _COLOURS["holds" if outcome == "fails" else "fails"]), (note, ""))


def _stack(*lines: tuple[str, str]) -> Text:
    return Text("\n").join(_plain(line, style) for line, style in lines)


def _plain(text: str, style: str = "") -> Text:
    """`text` as it stands: neither markup nor a terminal's escape sequences mean anything."""
    return Text("".join(sign if sign.isprintable() else " " for sign in text), style=style)
