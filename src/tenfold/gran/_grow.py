"""The compiled loop that grows graphs, window by window."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from tenfold.base.typing import Key
from tenfold.gran._chunks import step_at
from tenfold.gran._draw import Limits, logits_of, noise_for, rows_of
from tenfold.gran._kept import Kept, Rounds, kept_view, nothing_kept, put_back, taken_apart
from tenfold.gran._known import Known, Room, upto, view_of, with_row
from tenfold.gran._model import GRAN
from tenfold.gran._pass import states
from tenfold.gran._speculate import draw_verified


class Plan(eqx.Module):
    """How to sample; static."""

    space: Room
    limits: Limits
    block: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    draft: int = eqx.field(static=True, default=0)
    """Rows that are drafted at a time and verified one by one; 0 for none."""


def draw_block(
    model: GRAN,
    rounds: Rounds,
    plan: Plan,
    known: Known,
    kept: Kept,
    t: Array,
    n: Array,
    heat: Array,
    told: Any,
    key: Key,
) -> tuple[Array, Known, Kept]:
    """The rows of one window, and where the next one starts."""
    space, block = plan.space, plan.block
    at = step_at(model, space, t, jnp.minimum(n - t, block))
    base = at.base
    stop = jnp.where(t + block >= n, n, t + plan.stride)
    noise = noise_for(model, space, plan.limits, block, key)
    view = view_of(space, known, base)
    h, new, found = states(
        model, rounds, space, view, at, block, told, kept_view(kept, space, base)
    )
    kept = put_back(kept, found, base)
    weights, pairs = logits_of(model, space, at, h, new)
    part = jnp.argmax(weights / heat + noise.part)
    logits = pairs[:, :, part] / heat
    rows, alone = rows_of(model, space, view, at, logits, plan.limits, noise, n)
    if plan.limits.connected:
        stuck = known.stuck | (alone & (t + upto(block) < stop)).any()
        known = eqx.tree_at(lambda k: k.stuck, known, stuck)
    if model.label_head is not None and noise.labels is not None:
        scores = model.label_head(new).reshape(block, model.mixtures, model.node_kinds)
        labels = jnp.argmax(scores[:, part] / heat + noise.labels, axis=-1).astype(jnp.int32)
        labels = jax.lax.dynamic_update_slice_in_dim(known.labels, labels, t, 0)
        known = eqx.tree_at(lambda k: k.labels, known, labels)

    def commit(b: Array, known: Known) -> Known:
        return with_row(model, known, t + b, base, rows[b], told)

    return stop, jax.lax.fori_loop(jnp.zeros_like(t), stop - t, commit, known), kept


def _grow(
    model: GRAN,
    rounds: Rounds,
    plan: Plan,
    known: Known,
    start: Array,
    n: Array,
    heat: Array,
    told: Any,
    key: Key,
) -> Known:
    def more(carry: tuple[Array, Known, Kept | None]) -> Array:
        return carry[0] < n

    def step(carry: tuple[Array, Known, Kept | None]) -> tuple[Array, Known, Kept | None]:
        t, known, kept = carry
        known = eqx.tree_at(lambda k: k.steps, known, known.steps + 1)
        if kept is None:
            return (*draw_verified(model, rounds, plan, known, t, n, heat, told, keys[t]), None)
        return draw_block(model, rounds, plan, known, kept, t, n, heat, told, keys[t])

    # All at once: one call of the generator takes long, whatever it makes.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, upto(model.n_max))

    kept = None if plan.draft else nothing_kept(model, plan.space.nodes, plan.block)
    return jax.lax.while_loop(more, step, (start, known, kept))[1]


@eqx.filter_jit
def grow(model, plan, known, start, n, heat, told, keys) -> Known:
    """Graphs side by side, each from `start` to its own size; compiled once for all sizes."""

    rounds = taken_apart(model.rounds)

    def one(known: Known, n: Array, key: Key) -> Known:
        return _grow(model, rounds, plan, known, start, n, heat, told, key)

    if n.shape[0] == 1:  # a loop over one graph needs no selects
        out = one(jax.tree.map(lambda x: x[0], known), n[0], keys[0])
        return jax.tree.map(lambda x: x[None], out)
    return jax.vmap(one)(known, n, keys)
