"""What is compared between sets of graphs: a row of numbers a graph. *Host.*"""

from collections.abc import Sequence
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
    rows = [np.histogram(laplacian_eigenvalues(graph), edges)[0] for graph in union]
    return np.stack(rows) / union.n_nodes[:, None]


def laplacian_eigenvalues(graph: Graph) -> Float[np.ndarray, " nodes"]:
    """Eigenvalues, ascending, of I - D^-1/2 A D^-1/2 (0 for a node without edges). *Host.*

    Those of a bipartite graph are 1 +- the singular values of a matrix of half the size.
    """
    degrees = graph.degrees
    scale = 1 / np.sqrt(np.maximum(degrees, 1))
    i, j = graph.edges.T
    entries, alone = scale[i] * scale[j], int((degrees == 0).sum())
    side = _sides(graph)
    if side is None:
        matrix = np.zeros((graph.n_nodes, graph.n_nodes))
        matrix[i, j] = matrix[j, i] = entries
        values = 1 - np.linalg.eigvalsh(matrix)
    else:
        place = np.where(side, np.cumsum(side), np.cumsum(~side)) - 1
        matrix = np.zeros((side.sum(), (~side).sum()))
        matrix[place[np.where(side[i], i, j)], place[np.where(side[i], j, i)]] = entries
        roots = np.linalg.svd(matrix, compute_uv=False)
        values = np.concatenate([1 - roots, 1 + roots, np.ones(abs(np.diff(matrix.shape)[0]))])
    # A node without edges has the eigenvalue 0 of L, but made a 1 here; all of those are alike.
    values = np.sort(np.clip(values, 0, 2))
    ones = np.argsort(abs(values - 1), kind="stable")[:alone]
    return np.sort(np.concatenate([np.zeros(alone), np.delete(values, ones)]))


def _sides(graph: Graph) -> np.ndarray | None:
    """A side for each node so that edges join the two; None if there is none.

    Two copies of the graph, each edge going across: a component is bipartite exactly if its copies
    fall apart.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = graph.n_nodes
    i, j = graph.to_edge_index()
    across = csr_array((np.ones(len(i)), (i, j + n)), (2 * n, 2 * n))
    one, two = np.split(connected_components(across, directed=False)[1], 2)
    return None if (one == two).any() else one < two


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
