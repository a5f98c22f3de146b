"""Leaves and twins folded into one node each, so that no search needs to try them. *Host.*"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np

from tenfold.gran._graph import Graph


class Folded(NamedTuple):
    """What is left of a coloured graph; its colours say what was folded into each node."""

    graph: Graph
    colours: np.ndarray
    kept: np.ndarray
    """The nodes that are left, ascending, as they were numbered."""
    log_swaps: float
    """log of how many renumberings of folded nodes alone leave the graph as it was."""


def fold(graph: Graph, colours: np.ndarray, sides: np.ndarray) -> Folded:
    """Leaves go into their neighbours and twins into one of them, until there are none.

    Twins have one colour and the same neighbours along the same edges, each other left out. So a
    tree becomes a node or two, and so does a clique. Two sides, of which no edge joins nodes, are
    isomorphic exactly if they are once folded.
    """
    folding = _Folding(graph, colours, sides)
    folding.leaves()
    while folding.twins():
        folding.leaves()
    return folding.result(graph)


class _Folding:
    def __init__(self, graph: Graph, colours: np.ndarray, sides: np.ndarray) -> None:
        kinds = [0] * graph.n_edges if graph.edge_labels is None else graph.edge_labels.tolist()
        self.near: list[dict[int, int]] = [{} for _ in range(graph.n_nodes)]
        for (i, j), kind in zip(graph.edges.tolist(), kinds):
            self.near[i][j] = self.near[j][i] = kind
        self.colours, self.sides = colours.tolist(), sides.tolist()
        self.left = dict.fromkeys(range(graph.n_nodes))
        self.log_swaps = 0.0
        self.names: dict[Hashable, int] = {}
        self.first = max(self.colours, default=0) + 1

    def leaves(self) -> None:
        """In rounds from the outside; of two leaves that are joined, both stay."""
        layer = [v for v in self.left if len(self.near[v]) == 1]
        while layer:
            ends = [(v, *next(iter(self.near[v].items()))) for v in layer]
            fallen = [end for end in ends if len(self.near[end[1]]) > 1]
            told = defaultdict(list)
            for v, parent, kind in fallen:
                told[parent].append((kind, self.colours[v]))
            self._drop(v for v, *_ in fallen)
            for parent, children in told.items():
                self._rename(parent, tuple(sorted(children)))
                self._swap(Counter(children).values())
            layer = [v for v in told if len(self.near[v]) == 1]

    def twins(self) -> bool:
        """Whether there were any."""
        groups = defaultdict(list)
        for v in self.left:
            ends, who = list(self.near[v].items()), (self.sides[v], self.colours[v])
            groups[who, None, tuple(sorted(ends))].append(v)
            for kind in set(self.near[v].values()):  # twins that are joined
                groups[who, kind, tuple(sorted([*ends, (v, kind)]))].append(v)
        alike = [(kind, nodes) for (_, kind, _), nodes in groups.items() if len(nodes) > 1]
        for kind, nodes in alike:
            self._rename(nodes[0], (kind, len(nodes)))
            self._swap([len(nodes)])
            self._drop(nodes[1:])
        return bool(alike)

    def _rename(self, node: int, more: Hashable) -> None:
        name = (self.colours[node], more)
        self.colours[node] = self.names.setdefault(name, self.first + len(self.names))

    def _swap(self, counts: Iterable[int]) -> None:
        self.log_swaps += sum(math.lgamma(count + 1) for count in counts)

    def _drop(self, nodes: Iterable[int]) -> None:
        for v in nodes:
            for other in self.near[v]:
                del self.near[other][v]
            self.near[v] = {}
            del self.left[v]

    def result(self, graph: Graph) -> Folded:
        kept = np.fromiter(self.left, np.int64, len(self.left))
        return Folded(graph.subgraph(kept), np.array(self.colours)[kept], kept, self.log_swaps)
