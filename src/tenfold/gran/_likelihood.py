"""The likelihood of steps: all windows of a batch in one pass."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tenfold.gran._batch import Batch
from tenfold.gran._model import GRAN
from tenfold.gran._rounds import Round, plus


def starts(model: GRAN, batch: Batch) -> Float[Array, "nodes hidden"]:
    """What each node starts from: known ones from their row of L, new ones from 0."""
    entries = model.column[batch.link_kind, batch.link_column]
    count = batch.label.shape[0]
    total = jax.ops.segment_sum(entries, batch.link_row, count, indices_are_sorted=True)
    known = model.inputs(total, batch.label)
    old = (batch.place == 0)[:, None]
    h = jnp.where(old, known[batch.origin], jnp.zeros((), known.dtype))
    if batch.condition is None:
        return h
    return h + model.told(batch.condition)[batch.owner[batch.origin]]


def passed(model: GRAN, batch: Batch, h: Float[Array, "nodes hidden"]) -> Array:
    """States after all rounds."""
    last = jnp.zeros(model.rounds.first.shape[0], bool).at[-1].set(True)

    def step(h: Array, each: tuple[Round, Array]) -> tuple[Array, None]:
        layer, final = each
        sends, takes = layer.ends(h, batch.place)
        first = sends[batch.sender] + takes[batch.receiver]
        named = layer.named(batch.kind)
        messages = layer.send(first if named is None else first + named)
        total = jax.ops.segment_sum(messages, batch.receiver, len(h), indices_are_sorted=True)
        h = layer.update(total, h)
        return jnp.where(final, h, jax.nn.relu(h)), None

    return jax.lax.scan(step, h, (model.rounds, last))[0]


def step_log_probs(model: GRAN, batch: Batch) -> Float[Array, " steps"]:
    """log p of the kept rows of each window, given the rows before it; 0 where it is padding.

    **Cost:** R rounds over the windows' edges, and the head over their pairs.
    """
    h = passed(model, batch, starts(model, batch))
    head = model.head
    y = h @ head.first
    first = plus(y[batch.new] - y[batch.earlier], head.bias)
    steps = batch.step_graph.shape[0]

    def by_step(values: Array, step: Array) -> Array:
        return jax.ops.segment_sum(values, step, steps, indices_are_sorted=True)

    counts = by_step(jnp.ones(first.shape[0], h.dtype), batch.pair_step)
    shares = (
        by_step(head.share(first[:, model.hidden :]), batch.pair_step)
        / jnp.maximum(counts, 1)[:, None]
    )
    terms = edge_log_prob(model, head.edge(first[:, : model.hidden]), batch.target)
    terms = jnp.where(batch.kept[:, None], terms, jnp.zeros_like(terms))
    joint = jax.nn.log_softmax(shares) + by_step(terms, batch.pair_step)
    if model.label_head is not None:
        logits = model.label_head(h[batch.row]).reshape(-1, model.mixtures, model.node_kinds)
        labels = _chosen(jax.nn.log_softmax(logits), batch.row_label)
        labels = jnp.where(batch.row_kept[:, None], labels, jnp.zeros_like(labels))
        joint = joint + by_step(labels, batch.row_step)
    total = jax.nn.logsumexp(joint, axis=-1)
    # Padding points to the last step, which has nothing of its own.
    return jnp.where(jnp.arange(steps) < steps - 1, total, jnp.zeros_like(total))


def edge_log_prob(model: GRAN, logits: Array, target: Any) -> Float[Array, "pairs mixtures"]:
    """log p of each pair's category, of the mixture's parts; category 0, no edge, has logit 0."""
    logits = logits.reshape(*logits.shape[:-1], model.mixtures, model.edge_kinds)
    norm = jax.nn.softplus(jax.nn.logsumexp(logits, axis=-1))
    picked = _chosen(logits, jnp.maximum(target - 1, 0))
    return jnp.where((target > 0)[:, None], picked, jnp.zeros_like(picked)) - norm


def _chosen(logits: Float[Array, "n mixtures kinds"], index: Array) -> Array:
    index = jnp.broadcast_to(index[:, None, None], (*logits.shape[:2], 1))
    return jnp.take_along_axis(logits, index, axis=-1)[..., 0]
