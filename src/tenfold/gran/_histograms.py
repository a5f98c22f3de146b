"""What is compared between sets of graphs: a row of numbers a graph. *Host.*"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tenfold.gran._graph import Graph, Graphs
from tenfold.gran._orbits import ORBITS, orbits, triangles

Rows = Float[np.ndarray, "_ _"]
"""One row a graph; two sets may differ in both sizes."""


def degree(graphs: Sequence[Any]) -> Rows:
    """The share of nodes of degree 0, 1, ..., a row a graph. *Host.*"""
    union = _union(graphs)
    degrees = np.bincount(_both(union), minlength=int(union.n_nodes.sum()))
    return _histogram(union, degrees, int(degrees.max(initial=0)) + 1)


def clustering(graphs: Sequence[Any], *, bins: int = 100) -> Rows:
    """Histogram of the nodes' clustering coefficients, `bins` equal ones on [0, 1]. *Host.*

    The coefficient is the share of pairs of neighbours that are joined, 0 below two neighbours.
    """
    union = _union(graphs)
    n = int(union.n_nodes.sum())
    degrees = np.bincount(_both(union), minlength=n)
    edges = np.stack([union.senders, union.receivers], axis=1)
    closed = np.bincount(triangles(n, edges).ravel(), minlength=n)
    pairs = degrees * (degrees - 1) // 2
    # Whole numbers: a coefficient on a bin's edge does not depend on rounding.
    cells = np.minimum(closed * bins // np.maximum(pairs, 1), bins - 1)
    return _histogram(union, cells, bins)


def orbit4(graphs: Sequence[Any]) -> Float[np.ndarray, "graphs 15"]:
    """Orbit counts (see `orbits`) summed over the nodes and divided by their number. *Host.*"""
    union = _union(graphs)
    owner = np.repeat(np.arange(union.n), union.n_nodes)
    totals = np.zeros((union.n, ORBITS))
    np.add.at(totals, owner, orbits(union))
    return totals / union.n_nodes[:, None]


def spectral(graphs: Sequence[Any], *, bins: int = 200) -> Rows:
    """Histogram of the normalised Laplacian's eigenvalues, `bins` equal ones on [-1e-5, 2]. *Host.*

    Eigenvalues are clipped to [0, 2], where they are without rounding: a bipartite graph has the
    eigenvalue 2. **Cost:** O(n^3) a graph of n nodes.
    """
    edges = np.linspace(-1e-5, 2, bins + 1)
    union = _union(graphs)
    rows = [np.histogram(values, edges)[0] for values in _eigenvalues(union, _roots_of_squares)]
    return np.stack(rows) / union.n_nodes[:, None]


def laplacian_eigenvalues(graph: Graph) -> Float[np.ndarray, " nodes"]:
    """Eigenvalues, ascending, of I - D^-1/2 A D^-1/2 (0 for a node without edges). *Host.*"""
    return next(_eigenvalues(Graphs([graph]), _singular_values))


def _singular_values(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.svd(matrix, compute_uv=False)


def _roots_of_squares(matrix: np.ndarray) -> np.ndarray:
    """Singular values, those near 0 to 1e-8 only; half the time, and enough for a histogram whose
    bins end 5e-6 from 1."""
    small = matrix if len(matrix) < matrix.shape[1] else matrix.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(small @ small.T), 0))


def _eigenvalues(union: Graphs, singular: Callable[[np.ndarray], np.ndarray]) -> Iterator:
    """Of each graph. Those of a bipartite one are 1 +- the singular values of a matrix of half the
    size."""
    n = int(union.n_nodes.sum())
    starts = np.cumsum(union.n_nodes) - union.n_nodes
    degrees = np.bincount(_both(union), minlength=n)
    side, two_sided = _sides(union, starts)
    number = np.where(side, np.cumsum(side), np.cumsum(~side)) - 1
    first = np.stack(
        [np.cumsum(~side)[starts] - ~side[starts], np.cumsum(side)[starts] - side[starts]]
    )
    place = number - np.repeat(first, union.n_nodes, axis=1)[side.astype(int), np.arange(n)]
    i, j = union.senders, union.receivers
    entries = 1 / np.sqrt(degrees[i] * degrees[j])
    row, column = place[np.where(side[i], i, j)], place[np.where(side[i], j, i)]
    ends = np.searchsorted(i, [*starts, n])
    for g, (start, size) in enumerate(zip(starts.tolist(), union.n_nodes.tolist())):
        own, nodes = slice(ends[g], ends[g + 1]), slice(start, start + size)
        if two_sided[g]:
            count = int(side[nodes].sum())
            matrix = np.zeros((count, size - count))
            matrix[row[own], column[own]] = entries[own]
            roots = singular(matrix)
            values = np.concatenate([1 - roots, 1 + roots, np.ones(abs(size - 2 * count))])
        else:
            matrix = np.zeros((size, size))
            matrix[i[own] - start, j[own] - start] = entries[own]
            values = 1 - np.linalg.eigvalsh(matrix)  # it looks at the lower triangle
        yield _with_lonely(values, int((degrees[nodes] == 0).sum()))


def _with_lonely(values: np.ndarray, alone: int) -> np.ndarray:
    """A node without edges has the eigenvalue 0 of L, but is a 1 in `values`; all are alike."""
    values = np.sort(np.clip(values, 0, 2))
    if not alone:
        return values
    ones = np.argsort(abs(values - 1), kind="stable")[:alone]
    return np.sort(np.concatenate([np.zeros(alone), np.delete(values, ones)]))


def _sides(union: Graphs, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A side for each node, and by graph whether its edges join the two sides.

    Two copies of the graphs, each edge going across: a component is bipartite exactly if its copies
    fall apart.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = int(union.n_nodes.sum())
    i, j = _both(union), np.concatenate([union.receivers, union.senders])
    across = csr_array((np.ones(len(i), np.int8), (i, j + n)), (2 * n, 2 * n))
    one, two = np.split(connected_components(across, directed=False)[1], 2)
    return one < two, np.logical_and.reduceat(one != two, starts)


def _union(graphs: Sequence[Any]) -> Graphs:
    union = graphs if isinstance(graphs, Graphs) else Graphs(graphs)
    if not len(union) or union.n_nodes.min() < 1:
        raise ValueError("`graphs` must hold at least one graph, and each at least one node")
    return union


def _both(union: Graphs) -> np.ndarray:
    return np.concatenate([union.senders, union.receivers])


def _histogram(union: Graphs, cells: np.ndarray, bins: int) -> np.ndarray:
    owner = np.repeat(np.arange(union.n), union.n_nodes)
    counts = np.bincount(owner * bins + cells, minlength=union.n * bins)
    return counts.reshape(union.n, bins) / union.n_nodes[:, None]
