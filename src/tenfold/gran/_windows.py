"""One step of the generation as a small graph: what is known, the block, the pairs. *Host.*"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tenfold.gran._graph import Graph


def windows(n: int, block: int, stride: int, start: int = 0) -> np.ndarray:
    """First rows of the windows that cover rows `start` to n - 1; the last one reaches the end."""
    if n <= start:
        return np.zeros(0, np.int64)
    steps = 1 + max(0, -(-(n - start - block) // stride))
    return start + stride * np.arange(steps)


@dataclass(frozen=True, eq=False)
class Piece:
    """A window of a graph; nodes are numbered from its first one.

    Each node's `origin` is its row in the graph, and its `place` 0 if it is known, else its number
    in the block, from 1. Edges go both ways and are sorted by receiver; kind 0 joins a new node,
    others are categories from 1. Pairs are (new, earlier) with their target, 0 for no edge, and
    whether their row is kept.
    """

    origin: np.ndarray
    place: np.ndarray
    edges: np.ndarray
    """(E, 3): sender, receiver, kind."""
    pairs: np.ndarray
    """(P, 4): new, earlier, target, kept."""
    rows: np.ndarray
    """(B, 3): the block's nodes, their label, kept."""


def piece(graph: Graph, t: int, block: int, stride: int, window: int | None) -> Piece:
    """The window of rows t to t + block - 1 of `graph`."""
    low, high = max(0, t - (window or t)), min(t + block, graph.n_nodes)
    kept = high if high == graph.n_nodes else t + stride
    kinds = np.ones(graph.n_edges, np.int64) if graph.edge_labels is None else graph.edge_labels + 1
    known = slice(*np.searchsorted(graph.edges[:, 0], (low, t)))
    real = np.column_stack([graph.edges[known], kinds[known]])
    real = real[real[:, 1] >= low]
    old, new = np.arange(low, t), np.arange(t, high)
    edges = np.concatenate([real, real[:, [1, 0, 2]], *_augmented(old, new)])
    edges = edges[np.argsort(edges[:, 1], kind="stable")] - [low, low, 0]
    labels = np.zeros(graph.n_nodes, np.int64) if graph.node_labels is None else graph.node_labels
    return Piece(
        np.arange(low, high),
        np.concatenate([np.zeros(len(old), np.int64), 1 + np.arange(len(new))]),
        edges,
        _pairs(graph, kinds, new, kept, window) - [low, low, 0, 0],
        np.column_stack([new - low, labels[t:high], new < kept]),
    )


def _augmented(old: np.ndarray, new: np.ndarray) -> Iterator[np.ndarray]:
    """Every new node with every other node, both ways."""
    for senders, receivers in ((old, new), (new, old), (new, new)):
        s, r = (x.ravel() for x in np.meshgrid(senders, receivers, indexing="ij"))
        yield np.column_stack([s, r, np.zeros_like(s)])[s != r]


def _pairs(graph: Graph, kinds: np.ndarray, new: np.ndarray, kept: int, window: int | None):
    low = max(0, int(new[0]) - (window or graph.n_nodes))
    i, j = (x.ravel() for x in np.meshgrid(new, np.arange(low, new[-1] + 1), indexing="ij"))
    near = (j < i) & (i - j <= (window or graph.n_nodes))
    target = np.zeros((len(new), new[-1] + 1 - low), np.int64)
    own = slice(*np.searchsorted(graph.edges[:, 0], (new[0], new[-1] + 1)))
    rows, columns = (graph.edges[own] - [new[0], low]).T
    target[rows, columns] = kinds[own]
    return np.column_stack([i, j, target.ravel(), i < kept])[near]
