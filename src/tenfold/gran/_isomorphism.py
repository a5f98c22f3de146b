"""Validity, uniqueness and novelty of graphs. *Host.*"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from tenfold.gran._fold import fold
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
    """How many of `graphs` differ, of how many: classes of isomorphic graphs / graphs. *Host.*

    Labels count if all have them, as for `isomorphic`. ValueError for an empty list.
    """
    found = _comparable([as_graph(graph) for graph in graphs])
    if not found:
        raise ValueError("unique: `graphs` must hold at least one graph")
    classes = _Classes()
    return float(np.mean([classes.add(graph) for graph in found]))


def novel(graphs: Sequence[Any], reference: Sequence[Any]) -> float:
    """The share of `graphs` that are isomorphic to none of `reference`. *Host.*

    Labels count if all graphs of both have them, as for `isomorphic`. ValueError for no `graphs`.
    """
    if not len(graphs):
        raise ValueError("novel: `graphs` must hold at least one graph")
    found = _comparable([as_graph(graph) for graph in (*graphs, *reference)])
    classes = _Classes()
    for graph in found[len(graphs) :]:
        classes.add(graph)
    return float(np.mean([not classes.holds(graph) for graph in found[: len(graphs)]]))


def _comparable(graphs: list[Graph]) -> list[Graph]:
    """With the labels that all of them have."""
    nodes = all(g.node_labels is not None for g in graphs if g.n_nodes)
    links = all(g.edge_labels is not None for g in graphs if g.n_edges)
    return [
        Graph(
            g.n_nodes, g.edges, g.node_labels if nodes else None, g.edge_labels if links else None
        )
        for g in graphs
    ]


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
    colours = _refine(np.zeros(graph.n_nodes, np.int64), graph, rounds=8)
    sizes = np.bincount(colours)
    return graph.n_nodes, graph.n_edges, tuple(sizes.tolist())


def isomorphic(one: Graph, two: Graph) -> bool:
    """Whether a renumbering turns `one` into `two`. *Host.*

    Labels of nodes count if both graphs have them, and so do labels of edges: with and without
    labels, the structure is compared.

    Leaves and twins are folded, colours refined in both at once; where that leaves a choice, each
    is tried, a component at a time. **Cost:** about linear for most graphs, exponential for some
    very regular ones.
    """
    if (one.n_nodes, one.n_edges) != (two.n_nodes, two.n_edges):
        return False
    joined = _disjoint(*_comparable([one, two]))
    folded = fold(joined, _start(joined), np.arange(joined.n_nodes) >= one.n_nodes)
    colours, ours = _refine(folded.colours, folded.graph), folded.kept < one.n_nodes
    counts = [np.bincount(colours[side], minlength=joined.n_nodes) for side in (ours, ~ours)]
    if not np.array_equal(counts[0], counts[1]):
        return False
    # What has a colour of its own is matched, and its neighbours' colours tell of it.
    open_ = np.flatnonzero(counts[0][colours] > 1)
    return _parts_match(folded.graph.subgraph(open_), colours[open_], ours[open_])


def _parts_match(graph: Graph, colours: np.ndarray, ours: np.ndarray) -> bool:
    """Whether both sides have equally many components of each class."""
    if not graph.n_nodes:
        return True
    part = components(graph)
    groups = defaultdict(list)
    for nodes in np.split(np.argsort(part, kind="stable"), np.cumsum(np.bincount(part))[:-1]):
        groups[tuple(np.sort(colours[nodes]).tolist())].append(nodes)
    for some in groups.values():
        classes: list[tuple[np.ndarray, list[int]]] = []
        for nodes in some:
            found = (c for c in classes if _same_part(graph, colours, c[0], nodes))
            first, balance = next(found, (nodes, []))
            if not balance:
                classes.append((first, balance))
            balance.append(1 if ours[nodes[0]] else -1)
        if any(sum(balance) for _, balance in classes):
            return False
    return True


def _same_part(graph: Graph, colours: np.ndarray, one: np.ndarray, two: np.ndarray) -> bool:
    nodes = np.concatenate([one, two])
    return _match(colours[nodes], graph.subgraph(nodes), len(one))


def log_automorphisms(graph: Graph) -> float:
    """log of how many renumberings leave `graph` as it is, labels included. *Host.*

    The product of orbit sizes, each node being held once its orbit was counted.
    """
    folded = fold(graph, _start(graph), np.zeros(graph.n_nodes, bool))
    n, total = folded.graph.n_nodes, folded.log_swaps
    joined = _disjoint(folded.graph, folded.graph)
    colours = _refine(np.concatenate([folded.colours, folded.colours]), joined)
    while n and np.bincount(colours).max() > 2:
        held = int(np.argmax(np.bincount(colours)[colours[:n]] > 2))
        alike = np.flatnonzero(colours[n:] == colours[held]) + n
        orbit = sum(_match(_held(colours, held, other), joined, n) for other in alike.tolist())
        total += float(np.log(orbit))
        colours = _refine(_held(colours, held, held + n), joined)
    return total


def _start(graph: Graph) -> np.ndarray:
    """Colours from 0, one a label."""
    if graph.node_labels is None:
        return np.zeros(graph.n_nodes, np.int64)
    return np.unique(graph.node_labels, return_inverse=True)[1]


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


def _refine(colours: np.ndarray, graph: Graph, rounds: int = -1) -> np.ndarray:
    """The coarsest stable colouring: equal colours see equal colours along equal edges.

    After so many `rounds`, if positive, the colouring that there is.
    """
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
        if len(names) == len(np.unique(colours)) or rounds == 1:
            return new
        colours, rounds = new, rounds - 1


def _match(colours: np.ndarray, graph: Graph, n: int) -> bool:
    """Whether the first n nodes map to the other n: a search, whose depth is that of a list."""
    trials = [iter([colours])]
    while trials:
        tried = next(trials[-1], None)
        if tried is None:
            trials.pop()
            continue
        colours = _refine(tried, graph)
        ours, theirs = (np.bincount(part, minlength=2 * n + 1) for part in np.split(colours, [n]))
        if not np.array_equal(ours, theirs):
            continue
        if ours.max(initial=0) <= 1:
            return True  # a stable colouring that tells all nodes apart is an isomorphism
        trials.append(_trials(colours, ours, n))
    return False


def _trials(colours: np.ndarray, sizes: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """A node of the smallest colour that leaves a choice, with each that it may map to."""
    colour = int(np.argmin(np.where(sizes > 1, sizes, 2 * n + 1)))
    fixed = int(np.flatnonzero(colours[:n] == colour)[0])
    return (_held(colours, fixed, o + n) for o in np.flatnonzero(colours[n:] == colour).tolist())
