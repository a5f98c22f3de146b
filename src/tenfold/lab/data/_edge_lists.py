"""Edge lists: a line an edge. What may be something else is refused, not guessed."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HEADERS = (
    {"source", "target"},
    {"from", "to"},
    {"src", "dst"},
    {"u", "v"},
    {"node1", "node2"},
    {"node_1", "node_2"},
    {"fromnodeid", "tonodeid"},
    {"sender", "receiver"},
)
"""What columns of nodes are called, in small letters."""


class Row(NamedTuple):
    """A line that holds words."""

    number: int
    line: str
    words: list[str]

    def refused(self, why: str) -> ValueError:
        return ValueError(f"line {self.number}, {self.line.strip()[:40]!r}, {why}")


def read_edges(path: Path) -> Any:
    """The `networkx.Graph` of an edge list; ValueError saying which line is no edge."""
    import networkx

    rows = _rows(_text(path))
    _refuse_matrix([row.words for row in rows])
    columns = len(rows[0].words) if _has_header(rows) else 0
    graph = networkx.Graph()
    graph.add_edges_from(_edge(row, columns) for row in rows[columns > 0 :])
    return graph


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Excel begins files with a mark
    except UnicodeDecodeError as error:
        raise ValueError("this is no text in UTF-8") from error
    if "\0" in text:
        raise ValueError("this is no text: it holds NUL bytes")
    if text.startswith("%%MatrixMarket"):
        raise ValueError("this is a matrix in MatrixMarket's format; save an edge list or GraphML")
    return text


def _rows(text: str) -> list[Row]:
    """Lines with words on them, split at commas, else tabs, else blanks, the same in all lines."""
    lines = [(i, _bare(line)) for i, line in enumerate(text.splitlines(), 1)]
    lines = [(i, line) for i, line in lines if line.strip()]
    if any("," in line for _, line in lines):
        return [Row(i, line, _split(line, ",")) for i, line in lines]
    if all("\t" in line for _, line in lines):
        return [Row(i, line, _split(line, "\t")) for i, line in lines]
    return [Row(i, line, line.split()) for i, line in lines]


def _bare(line: str) -> str:
    """Without a comment, and without the attributes that networkx writes at the end, as {...}."""
    return re.sub(r"[\s,]\{.*\}\s*$", "", re.sub(r"(^|\s)[#%].*", "", line))


def _split(line: str, mark: str) -> list[str]:
    try:
        (words,) = csv.reader([line], delimiter=mark, skipinitialspace=True)
    except csv.Error as error:
        raise ValueError(f"line {line[:40]!r}: {error}") from error
    return [word.strip() for word in words]


def _edge(row: Row, columns: int) -> tuple[str, str]:
    """The names of an edge's nodes; of `columns`, if a first line named them, the rest is free."""
    names, rest = row.words[:2], row.words[2:]
    if any(_several(name) for name in names):
        raise row.refused("parts words otherwise: take commas, tabs or blanks in the whole file")
    if len(names) < 2 or not all(names):
        raise row.refused("names one node, not the two of an edge")
    if columns and "directed" in (word.lower() for word in rest):
        raise row.refused("is directed; only undirected edges are taken")
    strange = [word for word in rest if word and not _is_number(word)]
    if strange and len(row.words) != columns:
        raise row.refused(f"is no edge: {strange[0][:20]!r} is neither of its nodes nor a weight")
    return names[0], names[1]


def _several(name: str) -> bool:
    """Whether what should be one name looks like a row of its own."""
    row = " " in name and all(map(_is_number, name.split()))
    return row or any(mark in name for mark in "\t;")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _has_header(rows: Sequence[Row]) -> bool:
    """Whether the first line names columns: as they are called, or above numbers, and no node."""
    if not rows or len(rows[0].words) < 2:
        return False
    first, later = rows[0].words[:2], {name for row in rows[1:] for name in row.words[:2]}
    if not later.isdisjoint(first):
        return False
    if {name.lower() for name in first} in HEADERS:
        return True
    return bool(later) and all(map(_is_number, later)) and not any(map(_is_number, first))


def _refuse_matrix(rows: Sequence[Sequence[str]]) -> None:
    """An adjacency matrix, or one below a line of names, would pass for some edges."""
    for table in (rows, rows[1:]):
        size = len(table)
        if size < 3 or any(len(words) != size for words in table):
            continue
        if all(_is_number(word) and float(word) in (0, 1) for words in table for word in words):
            raise ValueError(
                f"this is an adjacency matrix of {size} nodes; save it as an edge list or GraphML"
            )
