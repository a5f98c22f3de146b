"""Sampling: one compiled program for graphs of any size."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tenfold.base.typing import Key
from tenfold.gran._draw import Limits
from tenfold.gran._graph import Graph, Graphs, as_graph
from tenfold.gran._grow import Plan, grow
from tenfold.gran._isomorphism import components
from tenfold.gran._known import Known, graph_of, room, start_from
from tenfold.gran._model import GRAN, check_condition, check_graph, check_sizes
from tenfold.gran._train import host_rng

_folded = jax.jit(jax.vmap(jax.random.fold_in, in_axes=(None, 0)))


def size_pmf(graphs: Sequence[Any]) -> Float[np.ndarray, " sizes"]:
    """The share of `graphs` with 0, 1, ... nodes. *Host.*"""
    sizes = [as_graph(graph).n_nodes for graph in graphs]
    return np.bincount(sizes) / len(sizes)


def sample(
    model: GRAN,
    sizes: Sequence[Any] | None = None,
    *,
    size_pmf: Any = None,
    n: int = 1,
    block: int | None = None,
    stride: int | None = None,
    draft: int = 0,
    temperature: Any = 1.0,
    start: Any = None,
    condition: Any = None,
    max_degree: int | None = None,
    connected: bool = False,
    allowed: Any = None,
    parallel: int = 1,
    chunk: int = 16,
    degree: int = 32,
    spill: int | None = None,
    key: Key,
) -> Graphs:
    """Graphs from the model. *Host*, around one compiled program for all sizes up to `n_max`.

    **Arguments:**

    - `sizes`: nodes of each graph; or `n` graphs of sizes drawn from `size_pmf`, entry i being
      the probability of i nodes.
    - `block`, `stride`: B and S, the model's by default. Larger ones are faster.
    - `draft`: rows that are drafted with that block and verified one by one in a single pass; the
      graphs have exactly the law of block 1, in fewer steps one after another (see `steps` of the
      result), if more operations: for machines that work side by side. Without limits.
    - `temperature`: all logits are divided by it; below 1 graphs come nearer to the likeliest.
    - `start`: a partial graph; its nodes, in their order, are the first of every graph.
    - `condition`: one vector for all graphs.
    - `max_degree`, `connected`, `allowed`: what rows must keep to, see `Limits`. Pairs are masked
      as rows are drawn, which is not the model's distribution given that the whole graph complies.
      A connected graph's nodes each have an earlier neighbour, and while nodes remain one has
      a free end.
    - `parallel`: graphs that are grown side by side, sorted by size.
    - `chunk`: nodes that are worked on at a time.
    - `degree`, `spill`: neighbours that a node's list holds, and edges' ends beyond those in one
      list for all (by default `n_max`). If they overflow, the graph is drawn again with room for
      twice as many, and is the same.

    **Raises:** ValueError for sizes beyond `n_max` or below `start`'s, or a `start` that breaks a
    limit; RuntimeError if `connected` can't be kept to.

    **Cost:** a window of t known nodes takes O(R (E + B t) H^2); memory O(n_max (H + degree)).
    """
    if draft and ((block or 1, stride or 1) != (1, 1) or not 1 <= draft <= model.max_block):
        raise ValueError(
            f"sample: `draft` is at most {model.max_block} (the model's `max_block`) and goes with "
            f"`block` 1, got {draft}, block {block}, stride {stride}"
        )
    block, stride = check_sizes(model, 1 if draft else block, stride)
    _check_condition(model, condition)
    first = Graph(0, np.zeros((0, 2), np.int64)) if start is None else as_graph(start)
    if first.n_nodes:
        check_graph(model, first)
    wanted = _sizes(model, sizes, size_pmf, n, first.n_nodes, key)
    least = min(parallel, chunk, degree, 1 if max_degree is None else max_degree)
    if not (temperature > 0 and least >= 1):
        raise ValueError(
            "sample: `temperature`, `parallel`, `chunk`, `degree` and `max_degree` must be "
            f"positive, got {temperature}, {parallel}, {chunk}, {degree}, {max_degree}"
        )
    limits = Limits(max_degree, connected, allowed)
    _check_start(first, limits)
    if draft and limits != Limits():
        raise ValueError("sample: `draft` keeps to no limits; leave them out, or set `draft=0`")
    dtype = model.offset.dtype
    told = model.told(None if condition is None else jnp.asarray(condition, dtype))
    told = jnp.broadcast_to(jnp.asarray(told, dtype), (model.hidden,))
    heat = jnp.asarray(temperature, dtype)
    out: list[Graph | None] = [None] * len(wanted)
    steps = np.zeros(len(wanted), np.int64)
    by_size = np.argsort(wanted, kind="stable")
    for at in range(0, len(wanted), parallel):
        group = by_size[at : at + parallel]
        # The last group is filled up with graphs without nodes: no other shape, no other program.
        full = np.concatenate([group, np.full(parallel - len(group), -1)])
        ns = np.where(full >= 0, wanted[full], 0)
        keys = _folded(key, np.maximum(full, 0))
        spaces = (degree, model.n_max if spill is None else spill)
        how = (block, stride, chunk, limits, draft)
        grown = _with_room(model, how, spaces, first, ns, heat, told, keys)
        steps[group] = grown.steps[: len(group)]
        for place, i in enumerate(group):
            out[i] = graph_of(model, jax.tree.map(lambda x, p=place: x[p], grown), int(wanted[i]))
    return Graphs(out, steps)


def _check_condition(model: GRAN, condition: Any) -> None:
    if np.ndim(condition) > 1:
        raise ValueError(
            "sample: `condition` must be one vector for all graphs, got an array of shape "
            f"{np.shape(condition)}"
        )
    check_condition(model, condition)


def _check_start(first: Graph, limits: Limits) -> None:
    """A ValueError if the partial graph breaks a limit, which rows drawn later can't mend."""
    broken = ""
    if limits.max_degree is not None and first.degrees.max(initial=0) > limits.max_degree:
        broken = f"`max_degree`={limits.max_degree}: a node has {first.degrees.max()} edges"
    if limits.connected and first.n_nodes and components(first).any():
        broken = "`connected`: it is in pieces"
    if limits.allowed is not None and first.n_edges:
        i, j = jnp.asarray(first.edges.T, jnp.int32)
        if not np.all(np.asarray(limits.allowed(i, j))):
            broken = "`allowed`: an edge is not"
    if broken:
        raise ValueError(f"sample: `start` does not keep to {broken}")


def _sizes(model, sizes, pmf, n: int, least: int, key: Key) -> np.ndarray:
    if (sizes is None) == (pmf is None):
        raise ValueError("sample: give either `sizes` or `size_pmf`")
    if pmf is not None:
        pmf = np.asarray(pmf, float)
        if pmf.ndim != 1 or not pmf.size or pmf.min() < 0 or not np.isclose(pmf.sum(), 1):
            raise ValueError(
                "sample: `size_pmf` must be probabilities of 0, 1, ... nodes that sum to 1, got "
                f"shape {pmf.shape} and the sum {pmf.sum()}"
            )
        sizes = host_rng(jax.random.fold_in(key, -1 % 2**32)).choice(len(pmf), n, p=pmf / pmf.sum())
    wanted = np.asarray(sizes).reshape(-1)
    if wanted.size and wanted.dtype.kind not in "iu":
        raise ValueError(f"sample: `sizes` must be whole numbers, got {wanted.dtype} {sizes}")
    wanted = wanted.astype(np.int64)
    if len(wanted) and not least <= wanted.min() <= wanted.max() <= model.n_max:
        raise ValueError(
            f"sample: `sizes` must lie between {least} (the nodes of `start`) and "
            f"`n_max`={model.n_max}, got {wanted.min()} to {wanted.max()}"
        )
    return wanted


def _with_room(model, how, spaces, first: Graph, ns, heat, told, keys) -> Known:
    """Grown graphs; lists that overflow are doubled and the same graphs drawn again."""
    block, stride, chunk, limits, draft = how
    degree, spill = spaces
    while True:
        space = room(model, max(block, draft), chunk, degree, spill)
        plan = Plan(space, limits, block, stride, draft)
        known = start_from(model, space, first, told)
        known = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(ns), *x.shape)), known)
        start = jnp.asarray(first.n_nodes, jnp.int32)
        grown = grow(model, plan, known, start, jnp.asarray(ns, jnp.int32), heat, told, keys)
        grown = jax.device_get(grown)
        if grown.stuck.any():
            raise RuntimeError(
                "sample: a node had no earlier node that it could be joined to, so `connected` "
                "can't be kept to; raise `max_degree`, or relax `allowed`"
            )
        if grown.spilt.max() <= space.spill and not grown.short.any():
            return grown
        degree, spill = 2 * space.degree, 2 * space.spill
