"""Sets of graphs: their split, and the text format of the TU Dortmund collection."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from tenfold.lab.data._archives import zip_members
from tenfold.lab.data._catalogue import entry, present
from tenfold.lab.data._files import DataError, chosen
from tenfold.lab.data._find import locate
from tenfold.lab.data._hashes import content

Part = Literal["all", "train", "test"]
Split = Literal["shuffled", "official"]


@dataclass(frozen=True)
class GraphSet:
    graphs: tuple[Any, ...]
    """Each a `tenfold.gran.Graph`."""
    labels: Int[np.ndarray, " n"] | None = None
    """A class a graph, as the files number them."""
    loops: int = 0
    """Self-loops in the files of all graphs, which are left out."""


def part_of(graphs: GraphSet, part: Part, seed: int, split: Split) -> GraphSet:
    """The first four fifths to train on, the rest to test on.

    `official` takes the graphs as they are listed, as the authors' code does: grids are listed by
    their first side, so its test set has the largest ones only. `shuffled` draws an order first.
    """
    chosen(part, ("all", "train", "test"), "part")
    chosen(split, ("shuffled", "official"))
    count = len(graphs.graphs)
    order = np.arange(count)
    if split == "shuffled":
        order = np.random.default_rng(seed).permutation(count)
    cut = int(0.8 * count)
    order = {"all": np.arange(count), "train": order[:cut], "test": order[cut:]}[part]
    labels = None if graphs.labels is None else graphs.labels[order]
    return replace(graphs, graphs=tuple(graphs.graphs[i] for i in order), labels=labels)


def of_size(graphs: GraphSet, least: int, most: int | None) -> GraphSet:
    """Those of `least` to `most` nodes."""
    sizes = np.array([graph.n_nodes for graph in graphs.graphs])
    kept = np.flatnonzero((sizes >= least) & (sizes <= (np.inf if most is None else most)))
    labels = None if graphs.labels is None else graphs.labels[kept]
    return replace(graphs, graphs=tuple(graphs.graphs[i] for i in kept), labels=labels)


def load_tu(name: str, prefix: str, *, most: int) -> GraphSet:
    """A set of the TU Dortmund collection, from a folder's text files or the official zip.

    `prefix` begins the files' names; none has more than `most` bytes.
    """
    dataset = entry(name)
    places = [(file, locate(dataset, file).path) for file in present(dataset)]
    if present(dataset) == dataset.instead:
        texts = {file.name.removesuffix(".gz"): content(path, file) for file, path in places}
    else:
        members = zip_members(places[0][1], most=most)
        texts = {PurePosixPath(member).name: text for member, text in members}
    try:
        return _parsed(texts, prefix)
    except ValueError as error:
        raise DataError(f"{places[0][1]}: {error}") from error


def _numbers(texts: dict[str, bytes], name: str, columns: int = 1) -> np.ndarray:
    if name not in texts:
        raise ValueError(f"{name} is missing")
    try:
        values = np.array(texts[name].replace(b",", b" ").split(), np.int64)
        return values.reshape(-1, columns)
    except ValueError:
        raise ValueError(f"{name} does not hold {columns} whole numbers a line") from None


def _parsed(texts: dict[str, bytes], prefix: str) -> GraphSet:
    pairs = _numbers(texts, f"{prefix}_A.txt", 2) - 1
    owner = _numbers(texts, f"{prefix}_graph_indicator.txt")[:, 0] - 1
    if not len(owner) or (np.diff(owner) < 0).any() or owner[0] != 0:
        raise ValueError(f"{prefix}_graph_indicator.txt does not number graphs from 1, ascending")
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= len(owner)):
        raise ValueError(f"{prefix}_A.txt names a node beyond the {len(owner)} that there are")
    if (owner[pairs[:, 0]] != owner[pairs[:, 1]]).any():
        raise ValueError(f"{prefix}_A.txt joins nodes of different graphs")
    count = int(owner[-1]) + 1
    nodes = None
    if f"{prefix}_node_labels.txt" in texts:
        nodes = np.unique(_numbers(texts, f"{prefix}_node_labels.txt")[:, 0], return_inverse=True)[
            1
        ]
        if len(nodes) != len(owner):
            raise ValueError(f"{prefix}_node_labels.txt has {len(nodes)} lines, not {len(owner)}")
    labels = None
    if f"{prefix}_graph_labels.txt" in texts:
        labels = _numbers(texts, f"{prefix}_graph_labels.txt")[:, 0]
        if len(labels) != count:
            raise ValueError(f"{prefix}_graph_labels.txt has {len(labels)} lines, not {count}")
    loops = int((pairs[:, 0] == pairs[:, 1]).sum())
    return GraphSet(_cut(pairs, owner, nodes, count), labels, loops)


def _cut(pairs: np.ndarray, owner: np.ndarray, nodes: Any, count: int) -> tuple[Any, ...]:
    """One graph at a time; each edge is listed in both directions, or in one."""
    from tenfold.gran import Graph

    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = np.unique(np.stack([pairs.max(axis=1), pairs.min(axis=1)], axis=1), axis=0)
    starts = np.searchsorted(owner, np.arange(count + 1))
    ends = np.searchsorted(pairs[:, 0], starts)
    graphs = []
    for i in range(count):
        low, high = starts[i], starts[i + 1]
        labels = None if nodes is None else nodes[low:high]
        graphs.append(Graph(int(high - low), pairs[ends[i] : ends[i + 1]] - low, labels))
    return tuple(graphs)


def made(graphs: Sequence[Any]) -> GraphSet:
    return GraphSet(tuple(graphs))
