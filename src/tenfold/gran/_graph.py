"""What a graph is here, and how one is read from what users have. *Host.*"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from tenfold.gran._networkx import from_networkx, looks_like_networkx, to_networkx


@dataclass(frozen=True, eq=False)
class Graph:
    """A simple undirected graph; what it must hold is checked when it is made.

    Lists will do for its fields. `as_graph` makes one of networkx, SciPy, dense and edge-index
    input.

    **Raises:** ValueError for nodes out of range, self-loops, repeated edges, labels of another
    length, and what is no whole number.
    """

    n_nodes: int
    edges: Int[np.ndarray, "edges 2"]
    """Each edge once, as (i, j) with i > j, in ascending order."""
    node_labels: Int[np.ndarray, " nodes"] | None = None
    """A category a node, from 0."""
    edge_labels: Int[np.ndarray, " edges"] | None = None
    """A category an edge, from 0."""

    def __init__(
        self,
        n_nodes: int | np.integer,
        edges: Any,
        node_labels: Any = None,
        edge_labels: Any = None,
    ) -> None:
        n = int(n_nodes)
        if n < 0:
            raise ValueError(f"Graph: `n_nodes` must not be negative, got {n}")
        pairs = _whole("edges", edges)
        pairs = pairs if pairs.size else pairs.reshape(0, 2)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"Graph: `edges` must have shape (edges, 2), got {pairs.shape}")
        nodes = None if node_labels is None else _whole("node_labels", node_labels)
        links = None if edge_labels is None else _whole("edge_labels", edge_labels)
        pairs, links = _tidy(n, pairs, links)
        for name, values, size in (("node_labels", nodes, n), ("edge_labels", links, len(pairs))):
            if values is not None and (values.shape != (size,) or values.min(initial=0) < 0):
                raise ValueError(
                    f"Graph: `{name}` must be {size} numbers from 0, got shape {values.shape}, "
                    f"least {values.min(initial=0)}"
                )
        fields = {"n_nodes": n, "edges": pairs, "node_labels": nodes, "edge_labels": links}
        for name, values in fields.items():
            object.__setattr__(self, name, values)

    @property
    def n_edges(self) -> int:
        return len(self.edges)

    @property
    def degrees(self) -> Int[np.ndarray, " nodes"]:
        return np.bincount(self.edges.ravel(), minlength=self.n_nodes)

    def reorder(self, ordering: Sequence[int] | np.ndarray) -> "Graph":
        """The graph whose node i is node `ordering[i]` of this one.

        **Raises:** ValueError unless `ordering` is a permutation.
        """
        ordering = np.asarray(ordering, np.int64)
        if not np.array_equal(np.sort(ordering.ravel()), np.arange(self.n_nodes)):
            raise ValueError(
                f"reorder: `ordering` must hold each of the {self.n_nodes} nodes once, got "
                f"shape {ordering.shape}"
            )
        place = np.empty(self.n_nodes, np.int64)
        place[ordering] = np.arange(self.n_nodes)
        labels = None if self.node_labels is None else self.node_labels[ordering]
        return Graph(self.n_nodes, place[self.edges], labels, self.edge_labels)

    def subgraph(self, nodes: Sequence[int] | np.ndarray) -> "Graph":
        """The graph induced by `nodes`, numbered in their order."""
        nodes = np.asarray(nodes, np.int64)
        place = np.full(self.n_nodes, -1)
        place[nodes] = np.arange(len(nodes))
        kept = (place[self.edges] >= 0).all(axis=1)
        node_labels = None if self.node_labels is None else self.node_labels[nodes]
        edge_labels = None if self.edge_labels is None else self.edge_labels[kept]
        return Graph(len(nodes), place[self.edges[kept]], node_labels, edge_labels)

    def dense(self) -> Int[np.ndarray, "nodes nodes"]:
        """The adjacency matrix, of 0 and 1."""
        matrix = np.zeros((self.n_nodes, self.n_nodes), np.int64)
        i, j = self.edges.T
        matrix[i, j] = matrix[j, i] = 1
        return matrix

    def to_networkx(self) -> Any:
        """A `networkx.Graph` with nodes 0, 1, ...; labels become the attribute `label`."""
        return to_networkx(self.n_nodes, self.edges, self.node_labels, self.edge_labels)

    def to_scipy(self) -> Any:
        """A symmetric `scipy.sparse.csr_array` of 0 and 1."""
        from scipy.sparse import csr_array

        rows, columns = self.to_edge_index()
        return csr_array((np.ones(len(rows), np.int64), (rows, columns)), (self.n_nodes,) * 2)

    def to_edge_index(self) -> Int[np.ndarray, "2 both"]:
        """Each edge in both directions, sorted by its second row, the receivers."""
        both = np.concatenate([self.edges, self.edges[:, ::-1]])
        return both[np.lexsort(both.T)].T


def _whole(name: str, values: Any) -> np.ndarray:
    """As integers; whole numbers of another type are taken too."""
    array = np.asarray(values)
    kind = array.dtype.kind
    if kind == "i":
        return array
    if array.size and (kind not in "uf" or not np.array_equal(array, np.round(array))):
        raise ValueError(f"Graph: `{name}` must be whole numbers, got {array.dtype} {values!r:.60}")
    return array.astype(np.int64)


def _tidy(n: int, edges: np.ndarray, labels: np.ndarray | None):
    """Edges as (larger, smaller) in ascending order, and their labels in that order."""
    edges = np.stack([edges.max(axis=1, initial=0), edges.min(axis=1, initial=n)], axis=1)
    if not len(edges):
        return edges.astype(np.int64), labels
    if edges[:, 1].min() < 0 or edges[:, 0].max() >= n:
        wrong = edges[(edges[:, 1] < 0) | (edges[:, 0] >= n)][0].tolist()
        raise ValueError(f"Graph: `edges` must be between nodes 0 and {n - 1}, got {wrong}")
    loops = edges[:, 0] == edges[:, 1]
    if loops.any():
        node = int(edges[loops][0, 0])
        raise ValueError(f"Graph: node {node} has a self-loop; `edges` must join different nodes")
    order = np.lexsort(edges.T[::-1])
    edges = edges[order].astype(np.int64)
    if (np.diff(edges, axis=0) == 0).all(axis=1).any():
        raise ValueError("Graph: `edges` holds an edge twice; give each once")
    if labels is not None and len(labels) == len(order):
        labels = labels[order]
    return edges, labels


class Graphs(Sequence):
    """Graphs in one disjoint union of arrays, as `sample` gives them; each item is a `Graph`.

    - `n`: how many; `n_nodes` (n,): their sizes.
    - `senders`, `receivers`: each edge once, as node numbers in the union, the larger one first.
    - `steps` (n,): how many windows, one after another, sampling took for each; None otherwise.
    """

    def __init__(self, graphs: Sequence[Any], steps: np.ndarray | None = None) -> None:
        self.steps = steps
        self._graphs = tuple(as_graph(graph) for graph in graphs)
        self.n_nodes = np.array([graph.n_nodes for graph in self._graphs], np.int64)
        starts = np.cumsum(self.n_nodes) - self.n_nodes
        parts = [graph.edges + start for graph, start in zip(self._graphs, starts)]
        self.senders, self.receivers = np.concatenate([np.zeros((0, 2), np.int64), *parts]).T

    @property
    def n(self) -> int:
        return len(self._graphs)

    def __len__(self) -> int:
        return len(self._graphs)

    def __getitem__(self, index: Any) -> Any:
        found = self._graphs[index]
        if isinstance(index, slice):
            return Graphs(found, None if self.steps is None else self.steps[index])
        return found

    def __iter__(self) -> Iterator[Graph]:
        return iter(self._graphs)

    def to_networkx(self) -> list:
        return [graph.to_networkx() for graph in self]

    def to_scipy(self) -> list:
        return [graph.to_scipy() for graph in self]

    def to_edge_index(self) -> list:
        return [graph.to_edge_index() for graph in self]


def as_graph(
    graph: Any,
    *,
    n_nodes: int | None = None,
    node_label: str | None = None,
    edge_label: str | None = None,
) -> Graph:
    """A `Graph` of what users have. *Host.*

    **Arguments:**

    - `graph`: a `Graph`; an undirected networkx graph (its nodes keep their order); a symmetric
      SciPy sparse or dense square matrix, an entry that is not 0 being an edge; or an edge index
      (2, E) of integers with each edge in one direction or both. A 2 x 2 array is a matrix.
    - `n_nodes`: for an edge index, whose last nodes may have no edge.
    - `node_label`, `edge_label`: names of networkx attributes that hold categories from 0.

    **Raises:** ValueError for directed graphs, multigraphs, self-loops, matrices with entries that
    are no finite number, and what is no graph.
    """
    if isinstance(graph, Graph):
        return graph
    if looks_like_networkx(graph):
        return Graph(*from_networkx(graph, node_label, edge_label))
    if hasattr(graph, "tocoo"):
        entries = graph.tocoo()
        kept = _entries(entries.data) != 0
        return _of_matrix(graph.shape, np.stack([entries.row[kept], entries.col[kept]]))
    if isinstance(graph, str | bytes) or not hasattr(graph, "__array__"):
        raise ValueError(f"as_graph: `graph` is a {type(graph).__name__}, which is no graph")
    array = np.asarray(graph)
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        return _of_matrix(array.shape, np.stack(np.nonzero(_entries(array))))
    if array.ndim == 2 and len(array) == 2 and array.dtype.kind in "iu":
        size = int(array.max(initial=-1)) + 1 if n_nodes is None else n_nodes
        return Graph(size, _once(array))
    raise ValueError(
        f"as_graph: `graph` must be a square matrix or an integer edge index of shape (2, E), "
        f"got {array.dtype}{list(array.shape)}"
    )


def _entries(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biufc" or not np.isfinite(values).all():
        raise ValueError("as_graph: `graph`, a matrix, must hold finite numbers, 0 for no edge")
    return values


def _once(index: np.ndarray) -> np.ndarray:
    """Edges in either direction or both as rows (larger, smaller), each once."""
    index = index.astype(np.int64)
    return np.unique(np.stack([index.max(axis=0), index.min(axis=0)], axis=1), axis=0)


def _of_matrix(shape: Any, entries: np.ndarray) -> Graph:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"as_graph: `graph`, a matrix, must be square, got shape {tuple(shape)}")
    edges = _once(entries)
    loops = int((entries[0] == entries[1]).sum())
    if not loops and len(np.unique(entries, axis=1).T) != 2 * len(edges):
        raise ValueError("as_graph: `graph` is not symmetric; directed graphs are not modelled")
    return Graph(int(shape[0]), edges)
