"""One run's part of the page."""

import json
import re
from collections.abc import Iterable, Mapping

from tenfold.lab.report._html import cell, chip, details, grid, head, line, scroll, tag, text
from tenfold.lab.report._notes import has_numbers, notes, signs
from tenfold.lab.report._numbers import (
    describe,
    duration,
    paper_numbers,
    plain,
    pretty,
)
from tenfold.lab.report._records import ClaimRecord, FigureRecord, RunRecord
from tenfold.lab.report._strip import strip
from tenfold.lab.report._summary import must_fail, trouble
from tenfold.lab.report._svg import inline_svg

MAX_ROWS = 200
"""Rows of drawn numbers shown on the page; the CSV file has them all."""
_COLUMNS = ("Claim", "Paper", "Measured here", "Verdict")


def anchor(run: RunRecord, index: int) -> str:
    """The id of a run's section; `index` keeps two runs of one study apart."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '', run.study) or 'run'}-{index + 1}"


def section(run: RunRecord, index: int) -> str:
    """All of one run."""
    here = anchor(run, index)
    figures = [_figure(figure, f"{here}-f{i}-") for i, figure in enumerate(run.figures)]
    parts = [_heading(run, here), _notices(run), _claims(run, here), *figures]
    if figures:
        parts.insert(-len(figures), "<h3>Figures</h3>")
    parts += [_differences(run), _making(run)]
    return tag("section", "".join(parts), id=here, aria_labelledby=f"{here}-h", class_="study")


def _heading(run: RunRecord, here: str) -> str:
    seeds = f"{len(run.seeds)} seed{'' if len(run.seeds) == 1 else 's'}"
    facts = [tag("b", text(run.study)), f"preset {text(run.preset)}", text(seeds)]
    if run.paper.arxiv:
        link = tag("a", text(f"arXiv:{run.paper.arxiv}"), href=run.paper.url, rel="noreferrer")
        facts.append(link)
    title = tag("h2", text(run.paper.title), id=f"{here}-h")
    headline = tag("p", text(run.paper.headline), class_="headline") if run.paper.headline else ""
    return f'<p class="facts">{" · ".join(facts)}</p>{title}{headline}'


def _notices(run: RunRecord) -> str:
    said = trouble(run)
    if run.sabotage:
        said.insert(
            0,
            f"Negative control: the method was sabotaged on purpose ({run.sabotage}). Claims that "
            "name this sabotage must fail here; none of these verdicts is counted above.",
        )
    items = "".join(tag("p", text(one)) for one in said)
    return tag("div", items, class_="notice", role="note") if said else ""


def _claims(run: RunRecord, here: str) -> str:
    if not run.claims:
        return ""
    rows = (_row(run, record, f"{here}-c{i}") for i, record in enumerate(run.claims))
    caption = f"Claims of the {run.study} paper, judged on {len(run.seeds)} seeds"
    columns = _COLUMNS if has_numbers([run]) else [name for name in _COLUMNS if name != "Paper"]
    table = f"<caption>{text(caption)}</caption>{head(columns)}" + tag(
        "tbody", "".join(rows), role="rowgroup"
    )
    kind = "claims" if has_numbers([run]) else "claims bare"
    return (
        "<h3>What the paper claims, and what was measured</h3>"
        + tag("table", table, class_=kind, role="table")
        + "".join(_note(sign, said) for sign, said in notes([run]))
        + _LEGEND
        + details("Values per seed", _seeds(run))
    )


def _note(sign: str, said: str) -> str:
    mark = tag("sup", text(sign)) + " " if sign else ""
    return tag("p", mark + text(said), class_="legend")


_LEGEND = (
    '<p class="legend">“0.5 × none” is a ratio to the arm “none”, “+0.1 vs none” a difference from '
    "it; what each arm is stands under Cost. A strip shows single seeds (rings), their mean (dot) "
    "and its 95 % Student-t interval (bar). The claim holds when the whole bar lies in the shaded "
    "zone; the dashed line is “no difference”.</p>"
)


def _row(run: RunRecord, record: ClaimRecord, here: str) -> str:
    claim = record.claim
    must = f"Negative control: must fail under “{claim.sabotage}”." if claim.sabotage else ""
    sign = tag("sup", text(signs([run])[claim.scale])) if claim.scale else ""
    said = tag("span", text(pretty(claim.says)) + sign, class_="says")
    said += tag("code", text(claim.id), class_="id")
    said += line("where", claim.where) + line("control", must)
    cells = [tag("th", said, scope="row", role="rowheader", id=here)]
    if has_numbers([run]):
        cells.append(cell(_paper(record), "Paper", class_="paper"))
    cells.append(cell(_measured(record), "Measured here", class_="measured"))
    cells.append(cell(verdict(run, record), "Verdict"))
    return tag("tr", "".join(cells), role="row")


def _paper(record: ClaimRecord) -> str:
    numbers = paper_numbers(record)
    if numbers is None:
        return line("value", "—") + line("small", "not checked")
    return line("value", pretty(numbers[0])) + line("small", pretty(numbers[1]))


def _measured(record: ClaimRecord) -> str:
    words = describe(record)
    label = f"{words.value} {words.interval}; {words.needs}; {record.verdict.outcome}"
    value = line("value", pretty(words.value)) + " " + line("interval", pretty(words.interval))
    picture = strip(record, pretty(label))
    return (
        value
        + picture
        + line("needs", pretty(words.needs))
        + line("small", pretty(words.sides))
        + line("small", record.verdict.note)
    )


def verdict(run: RunRecord, record: ClaimRecord) -> str:
    note = ""
    if must_fail(run, record):
        fired = record.verdict.outcome == "fails"
        note = "as it must" if fired else "but it must fail: the control did not fire"
    return chip(record.verdict.outcome) + line("small", note)


def _seeds(run: RunRecord) -> str:
    tables = "".join(_seed_table(record) for record in run.claims)
    return tag("div", tables, class_="tables")


def _seed_table(record: ClaimRecord) -> str:
    claim, against = record.claim, record.against
    other = claim.against if isinstance(claim.against, str) else "reference"
    plus = 1.0 if claim.compare == "ratio" else 0.0  # d is the ratio less one
    columns = ("seed", claim.arm, other, claim.compare)
    rows = []
    for seed in sorted({*record.values, *record.verdict.differences}):
        there = against.get(seed) if isinstance(against, Mapping) else against
        d = record.verdict.differences.get(seed)
        judged = None if d is None else d + plus
        rows.append((seed, *map(_number, (record.values.get(seed), there, judged))))
    return grid(f"{claim.id}: {claim.metric}", columns, rows)


def _number(value: float | None) -> str:
    return "—" if value is None else "not finite" if value != value else pretty(plain(value, 6))


def _figure(figure: FigureRecord, prefix: str) -> str:
    svg, width = inline_svg(figure.svg, prefix, figure.caption or figure.name)
    plate = tag("div", svg, class_="plate", style=f"--w:{width:.0f}")
    rows = [[_drawn(value) for value in row] for row in figure.rows[:MAX_ROWS]]
    table = grid(f"Numbers drawn in {figure.name}", figure.columns, rows) if rows else ""
    hidden = len(figure.rows) - MAX_ROWS
    more = f"{hidden} more rows are in figures/{figure.name}.csv." if hidden > 0 else ""
    caption = tag("p", text(figure.caption))
    numbers = details("The numbers drawn", table + line("small", more)) if table else ""
    return (
        f"<figure>{scroll(plate, f'Figure: {figure.name}')}"
        f"<figcaption>{caption}{numbers}</figcaption></figure>"
    )


def _drawn(value: str) -> str:
    try:
        return pretty(plain(float(value), 6)) if value else ""
    except ValueError:
        return value


def _differences(run: RunRecord) -> str:
    if not run.differences:
        return ""
    items = "".join(tag("li", text(one)) for one in run.differences)
    return f"<h3>Differences from the paper</h3><ul>{items}</ul>"


def _making(run: RunRecord) -> str:
    command = scroll(f"<pre><code>{text(run.command)}</code></pre>", "Command")
    config = json.dumps(run.config, indent=1, ensure_ascii=False)
    return (
        f"<h3>To reproduce it</h3>{command}"
        + details(
            "Configuration", scroll(f"<pre><code>{text(config)}</code></pre>", "Configuration")
        )
        + tag("div", _cost(run) + _environment(run), class_="pair")
    )


def _cost(run: RunRecord) -> str:
    arms = list(dict.fromkeys([*run.arms, *(unit.arm for unit in run.units)]))
    rows = [(arm, run.arms.get(arm, ""), *_spent(run, arm)) for arm in arms]
    total = sum(unit.seconds or 0.0 for unit in run.units)
    finished = len(run.units) - len(run.unfinished)
    rows.append(("all arms", "", f"{finished} of {len(run.units)}", duration(total)))
    table = grid(f"Wall time of {run.study}", ("arm", "what it is", "units done", "time"), rows)
    return tag("div", f"<h3>Cost</h3>{table}", class_="cost")


def _spent(run: RunRecord, arm: str) -> tuple[str, str]:
    units = [unit for unit in run.units if unit.arm == arm]
    finished = sum(unit.state == "done" for unit in units)
    seconds = [unit.seconds for unit in units if unit.seconds is not None]
    return f"{finished} of {len(units)}", duration(sum(seconds)) if seconds else "—"


def _environment(run: RunRecord) -> str:
    here = run.environment
    facts = {
        "machine": here.machine,
        "cores": _some(here.cores),
        "threads": _some(here.threads),
        "memory": f"{here.memory_gb:g} GB" if here.memory_gb is not None else "",
        "Python": here.python,
        **here.versions,
        "commit": run.git or "",
        "made": run.created[:16].replace("T", " "),
    }
    return tag("div", f"<h3>Environment</h3><dl>{_terms(facts.items())}</dl>")


def _some(value: int | None) -> str:
    return "" if value is None else str(value)


def _terms(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts if v)
