"""GraphML: one graph a file, all of whose edges join declared nodes."""

import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

NONE = "this is no GraphML"


def read_graphml(path: Path) -> Any:
    """The networkx graph of a file; ValueError unless it is one, with all nodes declared."""
    import networkx

    try:
        _check(ElementTree.parse(path).getroot())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of attributes without a type, which are not read
            return networkx.read_graphml(path)
    except (ElementTree.ParseError, networkx.NetworkXError, LookupError) as error:
        raise ValueError(f"{NONE}: {error}") from error


def _check(root: Any) -> None:
    """What networkx reads as another graph than the file's, without a word."""
    graphs = len(_all(root, "graph"))
    if not graphs:
        raise ValueError(f"{NONE}: it holds no graph")
    if graphs > 1:
        raise ValueError(f"it holds {graphs} graphs, beside or inside each other; one is needed")
    names = [node.get("id") for node in _all(root, "node")]
    known = set(names)
    if None in known or len(known) < len(names):
        raise ValueError("each node needs an `id` of its own")
    for edge in _all(root, "edge"):
        ends = edge.get("source"), edge.get("target")
        if not known.issuperset(ends):
            raise ValueError(f"an edge joins {ends[0]} and {ends[1]}, which are not both declared")


def _all(root: Any, name: str) -> list:
    """Elements of this name, in whatever namespace."""
    return [each for each in root.iter() if str(each.tag).rpartition("}")[2] == name]
