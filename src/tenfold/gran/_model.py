"""GRAN: what it is made of."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Int

from tenfold.base.typing import Key
from tenfold.gran._graph import Graph
from tenfold.gran._rounds import Head, Round
from tenfold.nets import Dense, DenseMLP

Whole = int | np.integer
"""A whole number, Python's or NumPy's."""


class GRAN(eqx.Module):
    r"""A distribution over graphs, given their size: rows of the adjacency matrix in blocks.

    $$p(L) = \prod_t p(L_{b_t} | L_{b_1}, \ldots, L_{b_{t-1}}), \qquad
      p(L_{b_t} | \cdot) = \sum_k \alpha_k \prod_{i \in b_t, j < i} p(L_{ij} | \theta_{ijk})$$

    L is the strictly lower triangle, theta and alpha come from a graph network on what is known,
    joined to the block's new nodes. Pairs of a block depend on each other through the mixture.
    Window t starts at row t S and has B rows. With a stride S < B only its first S rows count (of
    the last window, all): the rest is drawn again by the next. (arXiv 1910.00760, section 2.)

    Beyond the paper: categories of edges and nodes, which are generated too; a vector that the
    whole graph is conditioned on; `window`, which ties each node to the `window` nodes before it
    only, so that work grows with the graph's size and not with its square.
    """

    column: Float[Array, "kinds columns feat"]
    """The map of a row of L, one column a node before it (or a distance back, with `window`)."""
    lift: Dense | None
    offset: Float[Array, " hidden"]
    labels: Float[Array, "labels hidden"] | None
    condition: Dense | None
    rounds: Round
    """All rounds, stacked along the leading axis."""
    head: Head
    label_head: DenseMLP | None
    n_max: int = eqx.field(static=True)
    mixtures: int = eqx.field(static=True)
    block: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    max_block: int = eqx.field(static=True)
    window: int | None = eqx.field(static=True)
    edge_kinds: int = eqx.field(static=True)
    node_kinds: int = eqx.field(static=True)

    def __init__(
        self,
        n_max: int,
        hidden: int = 128,
        rounds: int = 7,
        mixtures: int = 20,
        block: int = 1,
        stride: int | None = None,
        feat_dim: int | None = None,
        *,
        gate: int = 128,
        max_block: int | None = None,
        window: int | None = None,
        edge_kinds: int = 1,
        node_kinds: int = 0,
        condition_size: int = 0,
        density: float = 0.5,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:**

        - `n_max`: the most nodes of a graph.
        - `hidden`, `rounds`, `mixtures`: H, R and K.
        - `block`, `stride`: B and S; S is B by default. Training and sampling may choose others, up
          to `max_block` (by default `block`).
        - `feat_dim`: rank of the map of a row; `hidden` by default.
        - `gate`: width of the gates' hidden layer; 0 for no attention.
        - `window`: of how many nodes before it each node sees, and may be joined to. None for all.
        - `edge_kinds`: categories of an edge. `node_kinds`: of a node; 0 for none.
        - `condition_size`: length of the condition, 0 for none.
        - `density`: the share of pairs that are edges, at the start.

        **Raises:** ValueError for sizes that are not positive, or S > B.
        """
        stride = block if stride is None else stride
        max_block = block if max_block is None else max_block
        sizes = (n_max, hidden, rounds, mixtures, stride, edge_kinds)
        sizes += tuple(1 if x is None else x for x in (window, feat_dim))
        _check_options(sizes, (gate, node_kinds, condition_size), density)
        if not stride <= block <= max_block:
            raise ValueError(
                f"GRAN: `stride` <= `block` <= `max_block` is needed, got {stride}, {block}, "
                f"{max_block}"
            )
        dtype = jnp.zeros((), dtype).dtype
        keys = jax.random.split(key, 8)
        columns, feat = n_max if window is None else window, feat_dim or hidden
        limit = 1 / math.sqrt(columns)
        self.column = jax.random.uniform(keys[0], (edge_kinds, columns, feat), dtype, -limit, limit)
        self.lift = Dense(feat, hidden, dtype=dtype, key=keys[1]) if feat_dim else None
        self.offset = jax.random.uniform(keys[2], (hidden,), dtype, -limit, limit)
        self.labels = (
            jax.random.normal(keys[3], (node_kinds, hidden), dtype) if node_kinds else None
        )
        told = condition_size > 0
        self.condition = Dense(condition_size, hidden, dtype=dtype, key=keys[4]) if told else None

        @eqx.filter_vmap
        def stack(key: Key) -> Round:
            return Round(hidden, gate, max_block + 1, edge_kinds, dtype=dtype, key=key)

        self.rounds = stack(jax.random.split(keys[5], rounds))
        self.head = Head(hidden, mixtures, edge_kinds, density, dtype=dtype, key=keys[6])
        self.label_head = None
        if node_kinds:
            sizes = (hidden, mixtures * node_kinds, hidden)
            relu = jax.nn.relu
            self.label_head = DenseMLP(*sizes, activation=relu, dtype=dtype, key=keys[7])
        self.n_max, self.mixtures, self.window = n_max, mixtures, window
        self.block, self.stride, self.max_block = block, stride, max_block
        self.edge_kinds, self.node_kinds = edge_kinds, node_kinds

    @property
    def hidden(self) -> int:
        return self.offset.shape[0]

    @property
    def condition_size(self) -> int:
        return 0 if self.condition is None else self.condition.weight.shape[0]

    def columns_of(self, rows: Any, columns: Any) -> Any:
        """Where entry (row, column) of L is in the map of a row."""
        return columns if self.window is None else rows - columns - 1

    def inputs(
        self, total: Float[Array, "nodes feat"], labels: Int[Array, " nodes"] | None
    ) -> Float[Array, "nodes hidden"]:
        """What known nodes start from: W L_i + c, and their label's vector."""
        h = total if self.lift is None else self.lift(total)
        h = h + jnp.broadcast_to(self.offset, h.shape)
        if self.labels is None or labels is None:
            return h
        return h + self.labels[labels]

    def told(self, condition: Any) -> Any:
        """What conditions (..., size) add to every node's start; 0 without them."""
        return 0.0 if self.condition is None else self.condition(condition)


def _check_options(positive: tuple, others: tuple, density: float) -> None:
    if min(positive) < 1 or min(others) < 0 or not 0 < density < 1:
        raise ValueError(
            "GRAN: `n_max`, `hidden`, `rounds`, `mixtures`, `stride`, `edge_kinds`, `window` and "
            f"`feat_dim` must be >= 1, got {positive}; `gate`, `node_kinds` and `condition_size` "
            f">= 0, got {others}; `density` between 0 and 1, got {density}"
        )


def check_sizes(model: GRAN, block: Whole | None, stride: Whole | None) -> tuple[int, int]:
    """Block and stride as asked for, or the model's; ValueError for what it can't do."""
    if block is None:
        block, stride = model.block, model.stride if stride is None else stride
    stride = block if stride is None else stride
    if not 1 <= stride <= block <= model.max_block:
        raise ValueError(
            f"1 <= `stride` <= `block` <= {model.max_block} (the model's `max_block`) is needed, "
            f"got stride {stride}, block {block}"
        )
    return int(block), int(stride)


def check_graph(model: GRAN, graph: Graph) -> None:
    """*Host.* A ValueError if `graph`, in its order, is none that the model can give."""
    if graph.n_nodes > model.n_max:
        raise ValueError(f"the graph has {graph.n_nodes} nodes, more than `n_max`={model.n_max}")
    _check_labels("edge", graph.edge_labels, model.edge_kinds, optional=model.edge_kinds == 1)
    _check_labels("node", graph.node_labels, model.node_kinds, optional=model.node_kinds == 0)
    band = int((graph.edges[:, 0] - graph.edges[:, 1]).max(initial=0))
    if model.window is not None and band > model.window:
        raise ValueError(
            f"an edge joins nodes {band} apart in this order, beyond `window`={model.window}; "
            "take another ordering ('bfs' keeps them near) or a larger window"
        )


def _check_labels(what: str, labels: Any, kinds: int, optional: bool) -> None:
    if labels is None and not optional:
        raise ValueError(f"the model has {kinds} `{what}_kinds`, but the graph no {what} labels")
    if labels is not None and labels.max(initial=0) >= max(kinds, 1):
        raise ValueError(
            f"a label {labels.max()} of a {what} is not below the model's `{what}_kinds`={kinds}"
        )


def check_condition(model: GRAN, condition: Any, graphs: int | None = None) -> None:
    """A ValueError unless there is a condition, or one for each of so many `graphs`, if needed."""
    size, shape = model.condition_size, None if condition is None else np.shape(condition)
    if shape is None and not size:
        return
    if graphs is None and shape != (size,):
        raise ValueError(
            f"`condition` must have length {size} (the model's `condition_size`), got "
            f"{'none' if shape is None else f'shape {shape}'}"
        )
    if graphs is not None and shape != (graphs, size):
        raise ValueError(
            f"`conditions` must have shape {(graphs, size)}, a row of the model's "
            f"`condition_size` for each of `graphs`, got {'none' if shape is None else shape}"
        )
