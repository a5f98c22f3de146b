"""Counts of the 15 orbits of connected graphs of up to four nodes, by counting and not by search.

Each equation says how often a pattern occurs as any subgraph, in terms of how often it occurs as
an induced one; solved from the densest pattern down.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from tenfold.gran._graph import Graphs

ORBITS = 15


def orbits(graphs: Sequence[Any]) -> Int[np.ndarray, "nodes 15"]:
    """Orbit counts of all nodes of `graphs`, one after another. *Host.*

    Orbits in the usual numbering (Przulj 2007): 0 an edge; 1, 2 the end and the middle of a path
    of three; 3 a triangle; 4, 5 the end and the middle of a path of four; 6, 7 leaf and centre of
    a star; 8 a cycle of four; 9, 10, 11 a triangle with a tail: its end, the two, the centre; 12,
    13 a cycle with a chord, off it and on it; 14 a complete graph. Subgraphs are induced.

    **Cost:** O(sum of squared degrees) sparse operations, for all graphs at once.
    """
    union = Graphs(graphs)
    return _orbits(int(union.n_nodes.sum()), np.stack([union.senders, union.receivers], axis=1))


def triangles(n: int, edges: np.ndarray) -> Int[np.ndarray, "triangles 3"]:
    """All triangles, each once. Edges point to the node of higher degree, so hubs cost little."""
    return _oriented(n, edges).cliques[0]


class _oriented:
    """Cliques of three and four nodes, found along edges that point to higher degrees."""

    def __init__(self, n: int, edges: np.ndarray) -> None:
        rank = np.empty(n, np.int64)
        order = np.argsort(np.bincount(edges.ravel(), minlength=n), kind="stable")
        rank[order] = np.arange(n)
        pairs = np.sort(rank[edges], axis=1)  # points from the lower rank to the higher
        pairs = pairs[np.lexsort(pairs.T[::-1])]
        self.n, self.heads = n, pairs[:, 1]
        self.keys = pairs[:, 0] * n + pairs[:, 1]
        self.starts = np.searchsorted(pairs[:, 0], np.arange(n + 1))
        threes = self._grow(pairs)
        self.cliques = order[threes], order[self._grow(threes)]

    def _grow(self, cliques: np.ndarray) -> np.ndarray:
        """Each clique with each node beyond its last that is joined to all of it."""
        last = cliques[:, -1]
        counts = self.starts[last + 1] - self.starts[last]
        which = np.repeat(np.arange(len(cliques)), counts)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        new = self.heads[self.starts[last][which] + offset]
        joined = np.ones(len(which), bool)
        for column in cliques[which, :-1].T:
            joined &= self._has(column * self.n + new)
        return np.concatenate([cliques[which[joined]], new[joined, None]], axis=1)

    def _has(self, keys: np.ndarray) -> np.ndarray:
        found = np.searchsorted(self.keys, keys)
        return (found < len(self.keys)) & (self.keys[np.minimum(found, len(self.keys) - 1)] == keys)


def _choose2(x: Any) -> Any:
    return x * (x - 1) // 2


def _orbits(n: int, edges: np.ndarray) -> np.ndarray:
    from scipy.sparse import csr_array

    o = np.zeros((ORBITS, n), np.int64)
    if not len(edges):
        return o.T
    both = np.concatenate([edges, edges[:, ::-1]]).T
    a: Any = csr_array((np.ones(both.shape[1], np.int64), tuple(both)), (n, n))
    d = np.bincount(edges.ravel(), minlength=n)
    threes, fours = _oriented(n, edges).cliques
    t = np.bincount(threes.ravel(), minlength=n)
    joint = (a @ a).tocoo()  # common neighbours of two nodes
    apart = joint.row != joint.col
    cycles = np.bincount(joint.row[apart], _choose2(joint.data[apart]), n).astype(np.int64)
    e = (a @ a).multiply(a).tocsr()  # triangles on each edge
    e.eliminate_zeros()
    chords = np.bincount(e.tocoo().row, _choose2(e.data), n).astype(np.int64)
    others = e.copy()
    others.data = others.data - 1
    tips = _row_sums((a @ others).multiply(a)) // 2

    o[14] = np.bincount(fours.ravel(), minlength=n)
    o[13] = chords - 3 * o[14]
    o[12] = tips - 3 * o[14]
    o[11] = t * (d - 2) - 2 * o[13] - 3 * o[14]
    o[10] = e @ (d - 2) - 2 * o[12] - 2 * o[13] - 6 * o[14]
    o[9] = a @ t - 2 * t - 2 * o[12] - 3 * o[14]
    o[8] = cycles - o[12] - o[13] - 3 * o[14]
    o[7] = d * (d - 1) * (d - 2) // 6 - o[11] - o[13] - o[14]
    o[6] = a @ _choose2(d - 1) - o[9] - o[10] - 2 * o[12] - o[13] - 3 * o[14]
    middles = (d - 1) * (a @ (d - 1)) - 2 * t
    o[5] = middles - 2 * o[8] - o[10] - 2 * o[11] - 2 * o[12] - 4 * o[13] - 6 * o[14]
    ends = a @ (a @ (d - 1)) - d * (d - 1) - 2 * t
    o[4] = ends - 2 * o[8] - 2 * o[9] - o[10] - 4 * o[12] - 2 * o[13] - 6 * o[14]
    o[3] = t
    o[2] = _choose2(d) - t
    o[1] = a @ (d - 1) - 2 * t
    o[0] = d
    return o.T


def _row_sums(matrix: Any) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1)).ravel().astype(np.int64)
