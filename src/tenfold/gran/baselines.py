"""What graphs are drawn from otherwise: two random graph models, and GraphRNN-S."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tenfold.base.typing import Key
from tenfold.gran._graph import Graph, Graphs, as_graph
from tenfold.gran._train import host_rng

Number = int | float


def erdos_renyi(n: int, density: Number, *, key: Key) -> Graph:
    """Each of the n (n - 1) / 2 pairs is an edge with probability `density`. *Host.*

    The density of a graph is 2 E / (n (n - 1)). **Raises:** ValueError for one outside [0, 1].
    """
    if n < 0 or not 0 <= density <= 1:
        raise ValueError(f"erdos_renyi: `n` >= 0, `density` in [0, 1], got {n}, {density}")
    pairs = np.stack(np.tril_indices(n, -1), axis=1)
    return Graph(n, pairs[host_rng(key).random(len(pairs)) < density])


def configuration(degrees: Sequence[int] | np.ndarray, *, key: Key) -> Graph:
    """Ends of edges joined at random, so that nodes have these degrees. *Host.*

    Self-loops and repeated edges are left out, so some degrees come out lower.
    **Raises:** ValueError for negative degrees, or an odd sum.
    """
    degrees = np.asarray(degrees, np.int64)
    if degrees.min(initial=0) < 0 or degrees.sum() % 2:
        raise ValueError(f"configuration: `degrees` >= 0 of even sum, got the sum {degrees.sum()}")
    ends = host_rng(key).permutation(np.repeat(np.arange(len(degrees)), degrees)).reshape(-1, 2)
    ends = ends[ends[:, 0] != ends[:, 1]]
    pairs = np.stack([ends.max(axis=1), ends.min(axis=1)], axis=1)
    return Graph(len(degrees), np.unique(pairs, axis=0))


def band_of(graphs: Sequence[Any]) -> int:
    """The furthest that an edge reaches back in the order given: a `GraphRNNS`'s `band`. *Host.*"""
    reaches = [int((g.edges[:, 0] - g.edges[:, 1]).max(initial=1)) for g in map(as_graph, graphs)]
    return max(reaches, default=1)


class Rows(eqx.Module):
    """Graphs as a `GraphRNNS` reads them: row i tells which of the nodes before i + 1 it meets."""

    entries: Float[Array, "graphs rows band"]
    """Entry d of row i is the pair (i + 1, i - d)."""
    n_nodes: Int[Array, " graphs"]


class GraphRNNS(eqx.Module):
    r"""GraphRNN-S (arXiv 1802.08773): a GRU reads the rows; pairs of a row are independent.

    $$p(L) = \prod_i \prod_{d < band} p(L_{i, i-1-d} | h_i), \qquad h_i = GRU(L_{i-1}, h_{i-1})$$

    Rows reach back by `band`, which breadth-first orders keep small. Sizes are given, as they are
    to `GRAN`; the paper's model tells by an empty row that a graph has ended.
    """

    cell: eqx.nn.GRUCell
    head: eqx.nn.MLP
    band: int = eqx.field(static=True)
    n_max: int = eqx.field(static=True)

    def __init__(self, n_max: int, band: int, hidden: int = 128, *, key: Key) -> None:
        """**Arguments:** `n_max`: the most nodes; `band`: see `band_of`; `hidden`: all widths."""
        if min(n_max - 1, band, hidden) < 1:
            raise ValueError(
                f"GraphRNNS: `n_max` > 1, `band`, `hidden` >= 1, got {n_max}, {band}, {hidden}"
            )
        first, second = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(band, hidden, key=first)
        self.head = eqx.nn.MLP(hidden, band, hidden, 1, key=second)
        self.band, self.n_max = band, n_max

    def rows(self, graphs: Sequence[Any]) -> Rows:
        """Graphs, in the order given, as arrays. *Host.*

        **Raises:** ValueError for more than `n_max` nodes, or an edge that reaches too far.
        """
        found = [as_graph(graph) for graph in graphs]
        entries = np.zeros((len(found), self.n_max - 1, self.band), np.float32)
        for g, graph in enumerate(found):
            back = graph.edges[:, 0] - graph.edges[:, 1] - 1
            if graph.n_nodes > self.n_max or back.max(initial=0) >= self.band:
                raise ValueError(
                    f"GraphRNNS: a graph of {graph.n_nodes} nodes whose edges reach back by "
                    f"{back.max(initial=0) + 1}; `n_max`={self.n_max}, `band`={self.band}"
                )
            entries[g, graph.edges[:, 0] - 1, back] = 1
        sizes = np.array([graph.n_nodes for graph in found], np.int32)
        return Rows(jnp.asarray(entries), jnp.asarray(sizes))

    def log_prob(self, rows: Rows) -> Float[Array, " graphs"]:
        """log p of each graph's matrix, given its size."""
        return jax.vmap(self._log_prob)(rows.entries, rows.n_nodes)

    def _log_prob(self, entries: Array, n: Array) -> Array:
        def step(carry: tuple[Array, Array], each: tuple[Array, Array]):
            h, before = carry
            row, i = each
            h = self.cell(before, h)
            logits = self.head(h)
            terms = row * logits - jax.nn.softplus(logits)
            ok = (jnp.arange(self.band) <= i) & (i + 1 < n)
            return (h, row), jnp.sum(jnp.where(ok, terms, jnp.zeros_like(terms)))

        numbers = jnp.arange(self.n_max - 1, dtype=jnp.int32)
        return jnp.sum(jax.lax.scan(step, self._start(), (entries, numbers))[1])

    def _start(self) -> tuple[Array, Array]:
        return jnp.zeros(self.cell.hidden_size), jnp.ones(self.band)

    def sample(self, sizes: Sequence[int] | np.ndarray, *, key: Key) -> Graphs:
        """A graph of each size. *Host*, around one program."""
        keys = jax.random.split(key, len(sizes))
        drawn = np.asarray(_drawn(self, keys)) > 0
        graphs = []
        for entries, n in zip(drawn, np.asarray(sizes).tolist()):
            i, d = np.nonzero(entries[: max(n - 1, 0)])
            graphs.append(Graph(n, np.stack([i + 1, i - d], axis=1)))
        return Graphs(graphs)

    def _sample(self, key: Key) -> Array:
        def step(carry: tuple[Array, Array], i: Array):
            h, before = carry
            h = self.cell(before, h)
            logits = self.head(h)
            edge = jax.random.bernoulli(jax.random.fold_in(key, i), jax.nn.sigmoid(logits))
            row = (edge & (jnp.arange(self.band) <= i)).astype(before.dtype)
            return (h, row), row

        numbers = jnp.arange(self.n_max - 1, dtype=jnp.int32)
        return jax.lax.scan(step, self._start(), numbers)[1]


@eqx.filter_jit
def _drawn(model: GraphRNNS, keys: Array) -> Array:
    return jax.vmap(model._sample)(keys)
