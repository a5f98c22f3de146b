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


def logits_of(
    model: GRAN, space: Room, at: Step, h: Array, new: Array
) -> tuple[Float[Array, " mixtures"], Float[Array, "span block mixtures kinds"]]:
    """The mixture's logits, which are means over the block's pairs, and the pairs' by its parts:
    of all nodes of the view by each new one."""
    half, head = model.hidden, model.head
    ours = plus(new @ head.first, head.bias)
    i = at.t + upto(new.shape[0])
    shape = (new.shape[0], model.mixtures, model.edge_kinds)

    def some(carry: tuple[Array, Array, Array], y: Array, j: Array, start: Array) -> tuple:
        total, count, pairs = carry
        first = ours[None] - y[:, None]
        ok = pair_mask(model, at, i[None], j[:, None])
        shares = head.share(first[..., half:])
        total = total + jnp.sum(jnp.where(ok[..., None], shares, 0), axis=(0, 1))
        logits = head.edge(first[..., :half]).reshape(-1, *shape)
        return total, count + jnp.sum(ok, dtype=jnp.int32), put(pairs, logits, start)

    def chunk(start: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        j = start + upto(space.chunk)
        # Nodes of the block that share the chunk are not known: theirs come below.
        j = jnp.where(j < at.t, j, i[-1] + 1)
        return some(carry, piece_of(h, start, space.chunk) @ head.first, j, start)

    nothing = jnp.zeros(model.mixtures, h.dtype), jnp.zeros((), jnp.int32)
    pairs = jnp.zeros((space.span, *shape), h.dtype)
    carry = over_chunks(space, at, chunk, (*nothing, pairs))
    total, count, pairs = some(carry, new @ head.first, i, at.t)
    return total / jnp.maximum(count, 1).astype(h.dtype), pairs


class Noise(eqx.Module):
    """What the draws of a window need."""

    part: Float[Array, " mixtures"]
    """Gumbel's; also of `kinds`, `labels` and `firsts`."""
    labels: Float[Array, "block labels"] | None
    pairs: Float[Array, "block span"]
    """Uniform."""
    firsts: Float[Array, "block span"] | None
    kinds: Float[Array, "span block kinds"] | None


def noise_for(model: GRAN, space: Room, limits: Limits, block: int, key: Array) -> Noise:
    """By one call of the generator, since each takes long, whatever it makes.

    Nodes come last, so that a larger view has the smaller one's noise.
    """
    few, kinds = model.mixtures + block * model.node_kinds, model.edge_kinds
    each = block * (1 + limits.connected + (kinds if kinds > 1 else 0))
    flat = jax.random.uniform(key, (few + space.span * each,), model.offset.dtype)
    labels, rest = flat[model.mixtures : few], flat[few:].reshape(space.span, each)
    firsts, kind = rest[:, block : 2 * block].T, rest[:, each - block * kinds :]
    return Noise(
        _gumbel(flat[: model.mixtures]),
        _gumbel(labels.reshape(block, -1)) if model.node_kinds else None,
        rest[:, :block].T,
        _gumbel(firsts) if limits.connected else None,
        _gumbel(kind.reshape(space.span, block, kinds)) if kinds > 1 else None,
    )


def _gumbel(uniform: Array) -> Array:
    smallest = jnp.finfo(uniform.dtype).tiny
    return -jnp.log(-jnp.log(jnp.maximum(uniform, smallest)))


def rows_of(
    model: GRAN,
    space: Room,
    known: Known,
    at: Step,
    logits: Float[Array, "span block kinds"],
    limits: Limits,
    noise: Noise,
    n: Array,
) -> tuple[Int[Array, "block span"], Bool[Array, " block"]]:
    """Each new row's kinds, 0 for no edge, and whether the row found no node to be joined to."""
    block = logits.shape[1]
    any_edge = jax.nn.logsumexp(logits, axis=-1).T
    drawn = noise.pairs < jax.nn.sigmoid(any_edge)
    kinds = 1
    if noise.kinds is not None:
        kinds = 1 + jnp.argmax(logits + noise.kinds, axis=-1).T.astype(jnp.int32)
    firsts = any_edge if noise.firsts is None else noise.firsts
    j = upto(space.span)

    def row(degree: Array, each: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        b, drawn, any_edge, firsts = each
        i = at.t + b
        ok = pair_mask(model, at, i, j) & _may(limits, at, i, j, degree)
        edges = drawn & ok
        if limits.connected:
            edges = _at_least_one(edges, ok, any_edge, firsts)
        if limits.max_degree is not None:
            edges = edges & (jnp.cumsum(edges) <= _most(limits, degree, at, i, j, n))
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


def _most(limits: Limits, degree: Array, at: Step, i: Array, j: Array, n: Array) -> Array:
    """Edges that a row may have. A connected graph must have a free end left for the next node:
    of F free ends, k edges leave F + max_degree - 2 k."""
    most = jnp.asarray(limits.max_degree, jnp.int32)
    if not limits.connected:
        return most
    free = jnp.sum(jnp.where((j >= at.low) & (j < i), most - degree, 0), dtype=jnp.int32)
    last = at.base + i + 1 >= n
    return jnp.where(last, most, jnp.clip((free + most - 1) // 2, 1, most))


def _at_least_one(edges: Array, ok: Array, logits: Array, noise: Array) -> Array:
    """Independent draws given that one succeeds: the first success, then all after it as drawn.

    P(first at j) is proportional to p_j times the product of (1 - p) before it.
    """
    missed = jnp.where(ok, -jax.nn.softplus(logits), 0)
    before = jnp.cumsum(missed) - missed
    score = jnp.where(ok, jax.nn.log_sigmoid(logits) + before + noise, -jnp.inf)
    first, number = jnp.argmax(score), upto(len(score))
    return ok & ((number == first) | (edges & (number > first)))
