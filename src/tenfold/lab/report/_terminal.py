"""The table of claims for a terminal; plain enough for a pipe at 80 columns."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenfold.lab.report._notes import has_numbers, notes, signs
from tenfold.lab.report._numbers import describe, paper_numbers
from tenfold.lab.report._records import ClaimRecord, RunRecord
from tenfold.lab.report._summary import must_fail, sentence, trouble

_COLOURS = {"holds": "bold green", "fails": "bold red", "unclear": "bold yellow"}


def claims_table(records: Sequence[RunRecord], width: int) -> Table:
    """A rich table with a row for each claim: claim, measured with interval, verdict.

    It is `width` columns wide at most. The paper's numbers have a column where there are any.
    """
    rows = [row for run in records for row in _rows(run, records)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
    names = ["claim", *["paper"] * has_numbers(records), "measured, 95 % interval", "verdict"]
    for name, size in zip(names, _widths(rows or [[Text()] * len(names)], width)):
        table.add_column(name, width=size, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _widths(rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Columns as wide as their longest line; if that is too wide, claim and measured share 7 to 8
    what the verdict and the paper leave."""
    claim, *paper, measured, verdict = [max(map(_longest, column)) for column in zip(*rows)]
    paper, verdict = [min(longest, 17) for longest in paper], max(verdict, len("verdict"))
    between = 3 * (3 + len(paper)) - 1
    room = width - verdict - sum(paper) - between
    measured = min(measured, max(room - claim, 8 * room // 15))
    return [max(min(claim, room - measured), 1), *paper, max(measured, 1), verdict]


def _longest(cell: Text) -> int:
    return max(map(len, cell.plain.split("\n")))


def print_claims(records: Sequence[RunRecord], console: Console) -> None:
    """Prints the table, the counts, and what is unfinished; no colour unless to a terminal."""
    with console.capture() as capture:
        if any(run.claims for run in records):
            console.print(claims_table(records, console.width))
        for sign, said in notes(records):
            console.print(_plain(f"({sign}) {said}" if sign else said, "dim"))
        console.print(_plain(sentence(records)))
        for run in records:
            for said in trouble(run):
                console.print(_plain(f"{run.study} {run.preset}: {said}"))
    text = capture.get()
    encoding = console.encoding or "utf-8"
    console.file.write(text.encode(encoding, "replace").decode(encoding))


def _rows(run: RunRecord, records: Sequence[RunRecord]) -> list[list[Text]]:
    rows = [_row(run, claim, records) for claim in run.claims]
    if run.sabotage and rows:
        empty = [Text()] * (len(rows[0]) - 1)
        rows.insert(0, [_plain(f"sabotaged: {run.sabotage}", "bold italic"), *empty])
    return rows


def _row(run: RunRecord, record: ClaimRecord, records: Sequence[RunRecord]) -> list[Text]:
    claim, words = record.claim, describe(record)
    name = claim.id if run.preset == "small" else f"{claim.id} ({run.preset})"
    sign = f" ({signs(records)[claim.scale]})" if claim.scale else ""
    said = _stack((name + sign, "bold"), (claim.says, ""))
    measured = _plain(words.value, "bold").append("\n" if has_numbers(records) else " ")
    measured.append_text(_plain(words.interval))
    for note in (f"{words.needs}; {words.sides}", record.verdict.note):
        if note:
            measured.append_text(_stack(("", ""), (note, "dim")))
    paper = [_paper(record)] if has_numbers(records) else []
    return [said, *paper, measured, _verdict(run, record)]


def _paper(record: ClaimRecord) -> Text:
    numbers = paper_numbers(record)
    if numbers is None:
        return _stack(("-", ""), ("not checked", "dim"))
    return _stack((numbers[0], "bold"), (numbers[1], ""))


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
