"""Windows of many graphs as one disconnected graph, padded to shapes that repeat. *Host.*"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tenfold.gran._graph import Graph
from tenfold.gran._model import GRAN
from tenfold.gran._windows import Piece, piece


class Shapes(NamedTuple):
    """Sizes of a batch's arrays; batches of equal shapes share a compiled program."""

    graphs: int
    known: int
    links: int
    steps: int
    nodes: int
    edges: int
    pairs: int
    rows: int


class Batch(eqx.Module):
    """Steps of some graphs. What pads an array points to the last entry of what it points to.

    The last graph, known node, step and node are such padding. With `shards` all arrays have a
    leading axis.
    """

    link_row: Int[Array, "*s links"]
    """Sorted: the row of each entry of L, a known node."""
    link_column: Int[Array, "*s links"]
    link_kind: Int[Array, "*s links"]
    label: Int[Array, "*s known"]
    owner: Int[Array, "*s known"]
    """The graph of each known node, and so of each node."""
    condition: Float[Array, "*s graphs size"] | None
    origin: Int[Array, "*s nodes"]
    """The known node that each node is."""
    place: Int[Array, "*s nodes"]
    sender: Int[Array, "*s edges"]
    receiver: Int[Array, "*s edges"]
    """Sorted."""
    kind: Int[Array, "*s edges"]
    new: Int[Array, "*s pairs"]
    earlier: Int[Array, "*s pairs"]
    target: Int[Array, "*s pairs"]
    kept: Bool[Array, "*s pairs"]
    pair_step: Int[Array, "*s pairs"]
    """Sorted, as `row_step`."""
    row: Int[Array, "*s rows"]
    row_label: Int[Array, "*s rows"]
    row_kept: Bool[Array, "*s rows"]
    row_step: Int[Array, "*s rows"]
    step_graph: Int[Array, "*s steps"]
    weight: Float[Array, "*s steps"]
    """1 / the probability that the step was drawn; 0 for padding."""
    n_graphs: Int[Array, "*s"]

    @property
    def shapes(self) -> Shapes:
        names = ("step_graph", "owner", "link_row", "step_graph", "origin", "sender", "new", "row")
        sizes = [getattr(self, name).shape[-1] for name in names]
        graphs = sizes[0] if self.condition is None else self.condition.shape[-2]
        return Shapes(graphs, *sizes[1:])


class Part(NamedTuple):
    """Windows of one graph, in its order, and what each weighs."""

    graph: Graph
    starts: np.ndarray
    weights: np.ndarray
    block: int
    stride: int
    condition: np.ndarray | None = None

    def pieces(self, window: int | None) -> list[Piece]:
        return [piece(self.graph, int(t), self.block, self.stride, window) for t in self.starts]


def bucket(size: int) -> int:
    """The least whole number >= `size` of the form ceil(2^(k/2))."""
    exponent = math.floor(2 * math.log2(max(size, 1)))
    while _root(exponent) < size:
        exponent += 1
    return _root(exponent)


def _root(exponent: int) -> int:
    return math.ceil(2 ** (exponent / 2) - 1e-9)


def fit(needed: Shapes, like: Shapes | None) -> Shapes:
    """Padded sizes: powers of sqrt(2), or the first of `like`, sqrt(2) `like`, ... that is enough.

    Scaled as one, shapes form a single sequence, and a training meets few of them.
    """
    if like is None:
        return Shapes(*map(bucket, needed))
    ratio = max(n / had for n, had in zip(needed, like))
    exponent = max(0, math.ceil(2 * math.log2(ratio) - 1e-9))
    return Shapes(*(math.ceil(size * 2 ** (exponent / 2) - 1e-9) for size in like))


def needed(parts: Sequence[Part], pieces: Sequence[Sequence[Piece]]) -> Shapes:
    """The least sizes that hold these windows, with an entry of padding where one is needed."""
    flat = [each for some in pieces for each in some]
    return Shapes(
        len(parts) + 1,
        1 + sum(part.graph.n_nodes for part in parts),
        max(1, sum(part.graph.n_edges for part in parts)),
        1 + len(flat),
        1 + sum(len(each.origin) for each in flat),
        max(1, sum(len(each.edges) for each in flat)),
        max(1, sum(len(each.pairs) for each in flat)),
        max(1, sum(len(each.rows) for each in flat)),
    )


def assemble(
    model: GRAN, parts: Sequence[Part], pieces: Sequence[Sequence[Piece]], shapes: Shapes
) -> Batch:
    """One batch of these windows, padded to `shapes`."""
    starts = np.cumsum([0, *(part.graph.n_nodes for part in parts)])
    links = [_links(model, part.graph, int(start)) for part, start in zip(parts, starts)]
    sizes = [part.graph.n_nodes for part in parts]
    labels = [_labels(part.graph) for part in parts]
    flat = [(each, g) for g, some in enumerate(pieces) for each in some]
    offsets = np.cumsum([0, *(len(each.origin) for each, _ in flat)])
    origins = [each.origin + starts[g] for each, g in flat]
    edges = [each.edges + np.array([o, o, 0]) for (each, _), o in zip(flat, offsets)]
    pairs = [
        np.column_stack([each.pairs + np.array([o, o, 0, 0]), np.full(len(each.pairs), s)])
        for s, ((each, _), o) in enumerate(zip(flat, offsets))
    ]
    rows = [
        np.column_stack([each.rows + np.array([o, 0, 0]), np.full(len(each.rows), s)])
        for s, ((each, _), o) in enumerate(zip(flat, offsets))
    ]
    last = Shapes(*(size - 1 for size in shapes))
    link = _table(links, shapes.links, (last.known, 0, 0))
    edge = _table(edges, shapes.edges, (last.nodes, last.nodes, 0))
    pair = _table(pairs, shapes.pairs, (last.nodes, last.nodes, 0, 0, last.steps))
    row = _table(rows, shapes.rows, (last.nodes, 0, 0, last.steps))
    return Batch(
        link_row=link[0],
        link_column=link[1],
        link_kind=link[2],
        label=_column(labels, shapes.known, 0),
        owner=_column([np.full(n, g) for g, n in enumerate(sizes)], shapes.known, last.graphs),
        condition=_conditions(model, parts, shapes.graphs),
        origin=_column(origins, shapes.nodes, last.known),
        place=_column([each.place for each, _ in flat], shapes.nodes, 0),
        sender=edge[0],
        receiver=edge[1],
        kind=edge[2],
        new=pair[0],
        earlier=pair[1],
        target=pair[2],
        kept=pair[3].astype(bool),
        pair_step=pair[4],
        row=row[0],
        row_label=row[1],
        row_kept=row[2].astype(bool),
        row_step=row[3],
        step_graph=_column([np.array([g]) for _, g in flat], shapes.steps, last.graphs),
        weight=_column([p.weights for p in parts], shapes.steps, 0.0).astype(model.offset.dtype),
        n_graphs=jnp.asarray(len(parts), jnp.int32),
    )


def _links(model: GRAN, graph: Graph, start: int) -> np.ndarray:
    i, j = graph.edges.T
    kinds = np.zeros(len(i), np.int64) if graph.edge_labels is None else graph.edge_labels
    return np.column_stack([i + start, model.columns_of(i, j), kinds])


def _labels(graph: Graph) -> np.ndarray:
    return np.zeros(graph.n_nodes, np.int64) if graph.node_labels is None else graph.node_labels


def _conditions(model: GRAN, parts: Sequence[Part], graphs: int):
    if not model.condition_size:
        return None
    table = np.zeros((graphs, model.condition_size))
    table[: len(parts)] = [part.condition for part in parts]
    return jnp.asarray(table, model.offset.dtype)


def _column(parts: Sequence[np.ndarray], size: int, fill: int | float) -> Array:
    values = np.concatenate([np.zeros(0, np.asarray(fill).dtype), *parts])
    out = np.full(size, fill, np.int32 if values.dtype.kind in "iu" else values.dtype)
    out[: len(values)] = values
    return jnp.asarray(out)


def _table(parts: Sequence[np.ndarray], size: int, fill: tuple[int, ...]) -> list[Array]:
    values = np.concatenate([np.zeros((0, len(fill)), np.int64), *parts])
    return [_column([v], size, f) for v, f in zip(values.T, fill)]
