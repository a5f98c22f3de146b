"""Training: batches of some steps of some graphs, and an unbiased loss."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tenfold.base.typing import Key
from tenfold.gran._batch import Batch, Part, Shapes, assemble, fit, needed
from tenfold.gran._graph import as_graph
from tenfold.gran._likelihood import step_log_probs
from tenfold.gran._model import GRAN, Whole, check_condition, check_graph, check_sizes
from tenfold.gran._order import Ordering, order, several
from tenfold.gran._windows import windows


def host_rng(key: Key) -> np.random.Generator:
    """NumPy's generator of a JAX key. *Host.*"""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def make_batch(
    model: GRAN,
    graphs: Sequence[Any],
    orders: Ordering | Sequence[Ordering] = "dfs",
    *,
    blocks: Whole | Sequence[int] | None = None,
    stride: Whole | None = None,
    steps_per_graph: int | None = 50,
    conditions: Any = None,
    shapes: Shapes | None = None,
    shards: int | None = None,
    key: Key,
) -> Batch:
    """Some steps of each graph, in arrays whose shapes repeat. *Host.*

    **Arguments:**

    - `model`: for its sizes only; its parameters aren't read.
    - `orders`: an ordering, or some of which each graph gets one at random.
    - `blocks`: the block, or some of which each graph gets one at random, so that a model can
      sample with all of them. `stride`: by default the block.
    - `steps_per_graph`: how many windows are drawn of each graph, each once at most; None: all.
    - `conditions`: (graphs, condition_size), if the model has conditions.
    - `shapes`: a batch's `shapes`: sizes are then those times a power of sqrt(2), and a training
      compiles once for each power that it meets; the set of `shapes` seen tells how often.
    - `shards`: splits the graphs into so many batches of equal shapes, stacked along a leading
      axis that can be laid over devices.

    **Raises:** ValueError for graphs that the model can't give, an empty list, graphs that
    `shards` does not divide, or conditions of another shape.
    """
    if not len(graphs) or len(graphs) % (shards or 1):
        raise ValueError(
            f"make_batch: `graphs` must not be empty and `shards`={shards} must divide their "
            f"number, got {len(graphs)}"
        )
    check_condition(model, conditions, len(graphs))
    rng = host_rng(key)
    some = several(orders)
    told = [None] * len(graphs) if conditions is None else np.asarray(conditions)
    parts = [
        _part(model, graph, condition, some, blocks, stride, steps_per_graph, rng)
        for graph, condition in zip(graphs, told, strict=True)
    ]
    shares = [parts[i :: shards or 1] for i in range(shards or 1)]
    pieces = [[part.pieces(model.window) for part in share] for share in shares]
    each = [needed(share, some) for share, some in zip(shares, pieces)]
    fitted = fit(Shapes(*map(max, zip(*each))), shapes)
    batches = [assemble(model, share, some, fitted) for share, some in zip(shares, pieces)]
    if shards is None:
        return batches[0]
    return jax.tree.map(lambda *xs: jnp.stack(xs), *batches)


def _part(model, graph, condition, orders, blocks, stride, steps, rng) -> Part:
    graph = as_graph(graph)
    if not (blocks is None or isinstance(blocks, int | np.integer)):
        blocks = rng.choice(list(blocks))
    block, stride = check_sizes(model, blocks, stride)
    graph = graph.reorder(order(graph, orders[rng.integers(len(orders))]))
    check_graph(model, graph)
    all_starts = windows(graph.n_nodes, block, stride)
    count = len(all_starts) if steps is None else min(steps, len(all_starts))
    if count < 1:
        raise ValueError(
            f"make_batch: each of `graphs` needs a node, and `steps_per_graph`={steps}"
        )
    chosen = np.sort(rng.choice(all_starts, count, replace=False))
    weights = np.full(count, len(all_starts) / count)
    return Part(graph, chosen, weights, block, stride, condition)


def loss(model: GRAN, batch: Batch) -> Float[Array, ""]:
    """Mean over the graphs of -log p(matrix | size), in nats, estimated from the batch's steps.

    Unbiased, and so is its gradient, for the orderings that were drawn: an upper bound of the
    graphs' own negative log-likelihood in the mean. A batch of `shards` may lie on many devices.
    """
    if batch.n_graphs.ndim:
        return jnp.mean(eqx.filter_vmap(loss, in_axes=(None, 0))(model, batch))
    total = jnp.sum(batch.weight * step_log_probs(model, batch))
    return -total / batch.n_graphs.astype(total.dtype)
