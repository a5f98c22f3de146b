"""Validity, uniqueness and novelty of graphs. *Host.*"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from tenfold.gran._graph import Graph, as_graph


def validity_lobster(graphs: Sequence[Any]) -> Bool[np.ndarray, " graphs"]:
    """Whether each graph is a lobster: a tree that is a path once its leaves fell twice. *Host.*"""
    return np.array([_is_lobster(as_graph(graph)) for graph in graphs], bool)


def _is_lobster(graph: Graph) -> bool:
    if graph.n_nodes == 0 or graph.n_edges != graph.n_nodes - 1 or components(graph).max() > 0:
        return False
    for _ in range(2):
        graph = graph.subgraph(np.flatnonzero(graph.degrees > 1))
    return bool(graph.degrees.max(initial=0) <= 2)


def components(graph: Graph) -> np.ndarray:
    """The number of each node's component, from 0. *Host.*"""
    from scipy.sparse.csgraph import connected_components

    return connected_components(graph.to_scipy(), directed=False)[1]


def unique(graphs: Sequence[Any]) -> float:
    """How many of `graphs` differ, of how many: classes of isomorphic graphs / graphs. *Host.*"""
    classes = _Classes()
    return float(np.mean([classes.add(as_graph(graph)) for graph in graphs]))


def novel(graphs: Sequence[Any], reference: Sequence[Any]) -> float:
    """The share of `graphs` that are isomorphic to none of `reference`. *Host.*"""
    classes = _Classes()
    for graph in reference:
        classes.add(as_graph(graph))
    return float(np.mean([not classes.holds(as_graph(graph)) for graph in graphs]))


class _Classes:
    """Graphs up to isomorphism, found by a fingerprint first."""

    def __init__(self) -> None:
        self.kept: dict[Any, list[Graph]] = defaultdict(list)

    def holds(self, graph: Graph) -> bool:
        return any(isomorphic(graph, other) for other in self.kept[_fingerprint(graph)])

    def add(self, graph: Graph) -> bool:
        """Whether it is the first of its class."""
        new = not self.holds(graph)
        if new:
            self.kept[_fingerprint(graph)].append(graph)
        return new


def _fingerprint(graph: Graph) -> Any:
    colours = _refine(np.zeros(graph.n_nodes, np.int64), graph)
    sizes = np.bincount(colours)
    return graph.n_nodes, graph.n_edges, tuple(sizes.tolist())


def isomorphic(one: Graph, two: Graph) -> bool:
    """Whether a renumbering turns `one` into `two`, labels of nodes and edges included. *Host.*

    Colours are refined in both at once; where that leaves a choice, each is tried. **Cost:** about
    linear for most graphs, exponential for some very regular ones.
    """
    if (one.n_nodes, one.n_edges) != (two.n_nodes, two.n_edges):
        return False
    joined = _disjoint(one, two)
    start = np.zeros(joined.n_nodes, np.int64) if joined.node_labels is None else joined.node_labels
    return _match(np.unique(start, return_inverse=True)[1], joined, one.n_nodes)


def log_automorphisms(graph: Graph) -> float:
    """log of how many renumberings leave `graph` as it is, labels included. *Host.*

    The product of orbit sizes, each node being held once its orbit was counted.
    """
    joined, n, total = _disjoint(graph, graph), graph.n_nodes, 0.0
    start = np.zeros(2 * n, np.int64) if joined.node_labels is None else joined.node_labels
    colours = _refine(np.unique(start, return_inverse=True)[1], joined)
    while n and np.bincount(colours).max() > 2:
        held = int(np.argmax(np.bincount(colours)[colours[:n]] > 2))
        alike = np.flatnonzero(colours[n:] == colours[held]) + n
        orbit = sum(_match(_held(colours, held, other), joined, n) for other in alike.tolist())
        total += float(np.log(orbit))
        colours = _refine(_held(colours, held, held + n), joined)
    return total


def _held(colours: np.ndarray, *nodes: int) -> np.ndarray:
    chosen = colours.copy()
    chosen[list(nodes)] = colours.max() + 1
    return chosen


def _disjoint(one: Graph, two: Graph) -> Graph:
    def both(a: np.ndarray | None, b: np.ndarray | None, sizes: tuple[int, int]):
        if a is None and b is None:
            return None
        # A graph without labels has another label than any.
        parts = [np.full(n, -1) if x is None else x for x, n in zip((a, b), sizes)]
        return np.concatenate(parts) + 1

    nodes = both(one.node_labels, two.node_labels, (one.n_nodes, two.n_nodes))
    links = both(one.edge_labels, two.edge_labels, (one.n_edges, two.n_edges))
    edges = np.concatenate([one.edges, two.edges + one.n_nodes])
    return Graph(one.n_nodes + two.n_nodes, edges, nodes, links)


def _refine(colours: np.ndarray, graph: Graph) -> np.ndarray:
    """The coarsest stable colouring: equal colours see equal colours along equal edges."""
    kinds = np.zeros(graph.n_edges, np.int64) if graph.edge_labels is None else graph.edge_labels
    to, of = np.concatenate([graph.edges, graph.edges[:, ::-1]]).T
    kinds = np.concatenate([kinds, kinds])
    while True:
        order = np.lexsort((colours[of], kinds, to))
        seen = np.stack([kinds[order], colours[of][order]], axis=1)
        ends = np.cumsum(np.bincount(to, minlength=graph.n_nodes))[:-1]
        keys = [(c, part.tobytes()) for c, part in zip(colours.tolist(), np.split(seen, ends))]
        names = {key: i for i, key in enumerate(sorted(set(keys)))}
        new = np.array([names[key] for key in keys], np.int64)
        if len(names) == len(np.unique(colours)):
            return new
        colours = new


def _match(colours: np.ndarray, graph: Graph, n: int) -> bool:
    colours = _refine(colours, graph)
    ours, theirs = (np.bincount(part, minlength=2 * n + 1) for part in np.split(colours, [n]))
    if not np.array_equal(ours, theirs):
        return False
    if ours.max(initial=0) <= 1:
        return True  # a stable colouring that tells all nodes apart is an isomorphism
    colour = int(np.argmin(np.where(ours > 1, ours, 2 * n + 1)))
    fixed = int(np.flatnonzero(colours[:n] == colour)[0])
    for other in np.flatnonzero(colours[n:] == colour) + n:
        if _match(_held(colours, fixed, int(other)), graph, n):
            return True
    return False
