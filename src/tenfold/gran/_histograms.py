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
    """Eigenvalues, ascending, of I - D^-1/2 A D^-1/2 (0 for a node without edges). *Host.*"""
    degrees = graph.degrees
    scale = 1 / np.sqrt(np.maximum(degrees, 1))
    matrix = np.diag((degrees > 0).astype(float))
    i, j = graph.edges.T
    matrix[i, j] = matrix[j, i] = -scale[i] * scale[j]
    return np.clip(np.linalg.eigvalsh(matrix), 0, 2)


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
