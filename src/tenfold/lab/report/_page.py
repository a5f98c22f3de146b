"""The page: what it says of all runs, then each run in turn."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from tenfold.lab.files import write_text_atomic
from tenfold.lab.report._html import cell, head, line, tag, text
from tenfold.lab.report._numbers import describe, pretty
from tenfold.lab.report._records import RunRecord
from tenfold.lab.report._study import anchor, section, verdict
from tenfold.lab.report._summary import OUTCOMES, controls, counts, trouble, when
from tenfold.lab.report._svg import glyph

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="tenfold">
<title>$title</title>
<link rel="icon" href="data:,">
<style>
$css</style>
</head>
<body>
<header>
$header</header>
<main>
$main</main>
<footer>
$footer</footer>
</body>
</html>
""")
_VERBS = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "unclear": ("unclear", "unclear")}
_FOOTER = (
    "<p>A verdict compares the 95 % Student-t interval of the difference, paired over seeds, with "
    "the margin that the claim asks for: <em>holds</em> when the whole interval is on the claimed "
    "side of it, <em>fails</em> when none of it is, else <em>unclear</em>; with fewer than three "
    "seeds always <em>unclear</em>. A negative control is the same study with the method broken "
    "on purpose: the claim must then fail, or it was never a test.</p>"
    "<p>Made by tenfold. This page is one file and loads nothing.</p>"
)


def html(records: Sequence[RunRecord]) -> str:
    """One self-contained page for `records`: no request, no script, light and dark, printable.

    The page depends on the records only: the date on it is the runs'.
    """
    studies = "".join(f"{section(run, index)}\n" for index, run in enumerate(records))
    return _PAGE.substitute(
        title=text(_title(records)),
        css=(files("tenfold.lab.report") / "style.css").read_text(encoding="utf-8"),
        header=_header(records),
        main=_overview(records) + studies,
        footer=_FOOTER,
    )


def write(records: Sequence[RunRecord], path: Path) -> None:
    """Writes `html(records)` to `path`, whole or not at all."""
    write_text_atomic(path, html(records))


def _title(records: Sequence[RunRecord]) -> str:
    names = list(dict.fromkeys(run.study for run in records))
    return f"{', '.join(names) or 'no run'} · claims re-measured · tenfold"


def _header(records: Sequence[RunRecord]) -> str:
    studies = len({run.study for run in records})
    claims = sum(counts(records).values())
    machines = " and ".join(dict.fromkeys(run.environment.machine for run in records))
    facts = [
        f"{_many(claims, 'claim')} of {_many(studies, 'paper')}",
        *([machines] if machines else []),
        when(records),
    ]
    return (
        '<p class="brand">tenfold</p><h1>Does the claim hold?</h1>'
        f'<p class="lede">{" · ".join(tag("span", text(one)) for one in facts)}</p>'
        f"{_tally(records)}\n"
    )


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _tally(records: Sequence[RunRecord]) -> str:
    number = counts(records)
    items = [_count(outcome, number[outcome]) for outcome in OUTCOMES]
    passed, total = controls(records)
    if total:
        said = f"<b>{passed} of {total}</b> negative controls failed, as they must"
        items.append(tag("li", f"<span>{said}</span>", class_="controls"))
    bars = [
        tag("span", "", class_=outcome, style=f"flex-grow:{number[outcome]}")
        for outcome in OUTCOMES
        if number[outcome]
    ]
    bar = tag("div", "".join(bars), class_="shares", aria_hidden="true") if bars else ""
    return tag("ul", "".join(items), class_="tally") + bar


def _count(outcome: str, number: int) -> str:
    word = _VERBS[outcome][0 if number == 1 else 1]
    return tag("li", f"{glyph(outcome)}<b>{number}</b> <span>{word}</span>", class_=outcome)


def _overview(records: Sequence[RunRecord]) -> str:
    if len(records) == 1:
        return ""  # its own table says it all
    body = "".join(_group(run, index) for index, run in enumerate(records))
    columns = ("Claim", "Measured, 95 % interval", "Verdict")
    table = f"<caption>All claims, study by study</caption>{head(columns)}{body}"
    return (
        '<section aria-labelledby="all"><h2 id="all">All claims</h2>'
        + _incomplete(records)
        + tag("table", table, class_="overview", role="table")
        + "</section>\n"
    )


def _incomplete(records: Sequence[RunRecord]) -> str:
    items = [
        f'<p><a href="#{anchor(run, index)}">{text(run.study)} {text(run.preset)}</a> is not '
        f"complete. {text(' '.join(trouble(run)))}</p>"
        for index, run in enumerate(records)
        if trouble(run)
    ]
    return tag("div", "".join(items), class_="notice", role="note") if items else ""


def _group(run: RunRecord, index: int) -> str:
    here = anchor(run, index)
    name = f'<a href="#{here}">{text(run.study)}</a> <span>{text(run.paper.title)}</span>'
    kind = f"preset {run.preset}" + (f", sabotaged: {run.sabotage}" if run.sabotage else "")
    title = tag("th", f"{name} {line('kind', kind)}", colspan="3", scope="rowgroup", role="cell")
    rows = [tag("tr", title, role="row", class_="group")]
    for i, record in enumerate(run.claims):
        words = describe(record)
        link = tag("a", text(pretty(record.claim.says)), href=f"#{here}-c{i}")
        value = line("value", pretty(words.value)) + " " + line("interval", pretty(words.interval))
        cells = tag("th", link, scope="row", role="rowheader") + cell(value, "Measured")
        cells += cell(verdict(run, record), "Verdict")
        rows.append(tag("tr", cells, role="row"))
    return tag("tbody", "".join(rows), role="rowgroup")
