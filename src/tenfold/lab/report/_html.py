"""The pieces of HTML that all parts of the page share; plain text goes in, escaped HTML out."""

from collections.abc import Iterable, Sequence
from html import escape

from tenfold.lab.report._svg import glyph


def text(value: object) -> str:
    """`value` escaped for use between tags or in a quoted attribute."""
    return escape(str(value), quote=True)


def tag(name: str, inner: str, **attributes: str) -> str:
    """An element around `inner`, which is HTML already; a trailing `_` of a name is dropped."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{said}>{inner}</{name}>"


def cell(inner: str, label: str, **attributes: str) -> str:
    """A table cell that carries its column's name, shown where a narrow screen stacks the row."""
    return tag("td", inner, role="cell", data_label=label, **attributes)


def head(columns: Iterable[str]) -> str:
    """The head of a table."""
    cells = [tag("th", text(name), scope="col", role="columnheader") for name in columns]
    return tag("thead", tag("tr", "".join(cells), role="row"), role="rowgroup")


def grid(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of numbers, its first column the rows' names; it scrolls sideways when too wide."""
    body = "".join(tag("tr", _cells(row)) for row in rows)
    header = "".join(tag("th", text(name), scope="col") for name in columns)
    table = f"<caption>{text(caption)}</caption><thead><tr>{header}</tr></thead>"
    return scroll(tag("table", f"{table}<tbody>{body}</tbody>", class_="grid"), caption)


def _cells(row: Sequence[object]) -> str:
    name, *rest = row
    return tag("th", text(name), scope="row") + "".join(tag("td", text(one)) for one in rest)


def scroll(inner: str, label: str) -> str:
    """A box that scrolls sideways, also by keyboard."""
    return tag("div", inner, class_="scroll", role="region", tabindex="0", aria_label=label)


def details(summary: str, inner: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{inner}</details>"


def chip(outcome: str) -> str:
    """A verdict: a sign, a word and a colour."""
    return f'<span class="verdict {text(outcome)}">{glyph(outcome)}{text(outcome)}</span>'


def line(class_: str, said: str) -> str:
    """A line of its own within a cell; nothing when nothing is said."""
    return tag("span", text(said), class_=class_) if said else ""
