"""One block drawn: the mixture's part, then the pairs of each row; masks forbid pairs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tenfold.gran._chunks import Step, over_chunks, piece_of, put
from tenfold.gran._known import Known, Room, upto
from tenfold.gran._model import GRAN
from tenfold.gran._rounds import plus


class Limits(eqx.Module):
    """What a sampled graph must keep to; each is imposed by masking pairs, row by row."""

    max_degree: int | None = eqx.field(static=True, default=None)
    connected: bool = eqx.field(static=True, default=False)
    allowed: Callable[[Any, Any], Any] | None = eqx.field(static=True, default=None)
    """`(i, j) -> bool`, of arrays of node numbers with j < i; works when compiled."""


def pair_mask(model: GRAN, at: Step, i: Array, j: Array) -> Bool[Array, "..."]:
    """Whether (i, j) is a pair of the block: i new, j before it, and in its reach."""
    near = j >= (0 if model.window is None else i - model.window)
    return (j < i) & near & (i < at.t + at.count)


def mixture_logits(
    model: GRAN, space: Room, at: Step, h: Array, new: Array
) -> Float[Array, " mixtures"]:
    """The mixture's logits: the mean over the block's pairs."""
    half, head = model.hidden, model.head
    first, bias = head.first[:, half:], head.bias[half:]
    ours = plus(new @ first, bias)
    i = at.t + upto(new.shape[0])

    def add(carry: tuple[Array, Array], y: Array, j: Array) -> tuple[Array, Array]:
        total, count = carry
        ok = pair_mask(model, at, i[None], j[:, None])
        shares = head.share(ours[None] - y[:, None])
        return total + jnp.sum(jnp.where(ok[..., None], shares, 0), axis=(0, 1)), count + jnp.sum(
            ok, dtype=jnp.int32
        )

    def chunk(start: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        j = start + upto(space.chunk)
        # Nodes of the block that share the chunk are not known: theirs come below.
        j = jnp.where(j < at.t, j, i[-1] + 1)
        return add(carry, piece_of(h, start, space.chunk) @ first, j)

    nothing = (jnp.zeros(model.mixtures, h.dtype), jnp.zeros((), jnp.int32))
    total, count = add(over_chunks(space, at, chunk, nothing), new @ first, i)
    return total / jnp.maximum(count, 1).astype(h.dtype)


def pair_logits(
    model: GRAN, space: Room, at: Step, h: Array, new: Array, part: Array
) -> Float[Array, "span block kinds"]:
    """Logits of the mixture's `part` for all nodes of the view, by each new one."""
    half, head = model.hidden, model.head
    first, bias = head.first[:, :half], head.bias[:half]
    ours = plus(new @ first, bias)
    shape = (half, model.mixtures, model.edge_kinds)
    weight, offset = (
        head.logits.weight.reshape(shape)[:, part],
        head.logits.bias.reshape(shape[1:])[part],
    )

    def logits(y: Array) -> Array:
        return plus(head.edge_hidden(ours[None] - y[:, None]) @ weight, offset)

    def chunk(start: Array, out: Array) -> Array:
        return put(out, logits(piece_of(h, start, space.chunk) @ first), start)

    out = jnp.zeros((space.span, new.shape[0], model.edge_kinds), h.dtype)
    out = over_chunks(space, at, chunk, out)
    return put(out, logits(new @ first), at.t)


def rows_of(
    model: GRAN,
    space: Room,
    known: Known,
    at: Step,
    logits: Float[Array, "span block kinds"],
    limits: Limits,
    keys: Array,
) -> tuple[Int[Array, "block span"], Bool[Array, " block"]]:
    """Each new row's kinds, 0 for no edge, and whether the row found no node to be joined to."""
    block = logits.shape[1]
    any_edge = jax.nn.logsumexp(logits, axis=-1).T
    drawn = jax.random.uniform(keys[1], any_edge.shape, logits.dtype) < jax.nn.sigmoid(any_edge)
    kinds, firsts = 1, any_edge
    if model.edge_kinds > 1:
        noise = jax.random.gumbel(keys[2], logits.shape, logits.dtype)
        kinds = 1 + jnp.argmax(logits + noise, axis=-1).T.astype(jnp.int32)
    if limits.connected:
        firsts = jax.random.gumbel(keys[4], any_edge.shape, logits.dtype)
    j = upto(space.span)

    def row(degree: Array, each: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        b, drawn, any_edge, firsts = each
        i = at.t + b
        ok = pair_mask(model, at, i, j) & _may(limits, at, i, j, degree)
        edges = drawn & ok
        if limits.connected:
            edges = _at_least_one(edges, ok, any_edge, firsts)
        if limits.max_degree is not None:
            edges = edges & (jnp.cumsum(edges) <= limits.max_degree)
        ones = edges.astype(jnp.int32)
        degree = (degree + ones).at[i].add(jnp.sum(ones, dtype=jnp.int32))
        return degree, (edges, (at.base + i > 0) & (b < at.count) & ~edges.any())

    each = (upto(block), drawn, any_edge, firsts)
    edges, alone = jax.lax.scan(row, known.degree, each)[1]
    return jnp.where(edges, kinds, 0), alone


def _may(limits: Limits, at: Step, i: Array, j: Array, degree: Array) -> Array:
    ok = jnp.ones(j.shape, bool)
    if limits.max_degree is not None:
        ok = ok & (degree < limits.max_degree)
    if limits.allowed is not None:
        ok = ok & limits.allowed(at.base + i, at.base + j)
    return ok


def _at_least_one(edges: Array, ok: Array, logits: Array, noise: Array) -> Array:
    """Independent draws given that one succeeds: the first success, then all after it as drawn.

    P(first at j) is proportional to p_j times the product of (1 - p) before it.
    """
    missed = jnp.where(ok, -jax.nn.softplus(logits), 0)
    before = jnp.cumsum(missed) - missed
    score = jnp.where(ok, jax.nn.log_sigmoid(logits) + before + noise, -jnp.inf)
    first, number = jnp.argmax(score), upto(len(score))
    return ok & ((number == first) | (edges & (number > first)))
