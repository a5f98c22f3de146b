"""Running sums of weights over many short series laid end to end, in log space.

`first` marks the row at which a series begins. Every scan is associative, and runs in two loops
of about sqrt(rows) steps. (`jax.lax.associative_scan` is one unrolled program: with its gradient
it took XLA 13 s to compile for 640 rows, measured.)
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Num

NOTHING = -1e30
"""The logarithm of a sum of nothing: finite, so that no gradient is nan."""


def running_logsumexp(
    logw: Float[Array, " rows"], first: Bool[Array, " rows"]
) -> Float[Array, " rows"]:
    """log(w_1 + ... + w_n) at each row."""

    def join(a: Any, b: Any) -> Any:
        (begins, left), (resets, right) = a, b
        return begins | resets, jnp.where(resets, right, jnp.logaddexp(left, right))

    return scanned(join, (first, logw))[1]


def running_top(
    logw: Float[Array, " rows"], first: Bool[Array, " rows"]
) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """log of the largest weight so far, and of the sum of the others (`NOTHING` for none).

    Their difference keeps 1 - w_max / sum exact where one weight outweighs all others.
    """

    def join(a: Any, b: Any) -> Any:
        (begins, top_a, rest_a), (resets, top_b, rest_b) = a, b
        top, loser = jnp.maximum(top_a, top_b), jnp.minimum(top_a, top_b)
        rest = jnp.logaddexp(jnp.logaddexp(rest_a, rest_b), loser)
        new_top, new_rest = jnp.where(resets, top_b, top), jnp.where(resets, rest_b, rest)
        return begins | resets, new_top, new_rest

    _, top, rest = scanned(join, (first, logw, jnp.full_like(logw, NOTHING)))
    return top, rest


def linear_recurrence(
    keep: Float[Array, "rows n"], add: Float[Array, "rows n"]
) -> Float[Array, "rows n"]:
    """x_i = keep_i x_{i-1} + add_i, with x_{-1} = 0."""

    def join(a: Any, b: Any) -> Any:
        (keep_a, add_a), (keep_b, add_b) = a, b
        return keep_a * keep_b, keep_b * add_a + add_b

    return scanned(join, (keep, add))[1]


def before(x: Num[Array, " rows"]) -> Num[Array, " rows"]:
    """The row above; the first sees itself."""
    return jnp.concatenate([x[:1], x[:-1]])


def scanned(join: Callable[[Any, Any], Any], rows: Any) -> Any:
    """x_0, x_0 + x_1, x_0 + x_1 + x_2, ... for any associative `join`, along the first axis.

    All blocks side by side, then their totals one after another.
    """
    n = jax.tree.leaves(rows)[0].shape[0]
    size = math.isqrt(max(n - 1, 0)) + 1
    blocks = -(-n // size)
    within = _loop(join, jax.tree.map(lambda a: _cut(a, blocks, size), rows))
    totals = _loop(join, jax.tree.map(lambda a: a[-1], within))
    ahead = jax.tree.map(lambda a: jnp.broadcast_to(a[:-1], (size, *a[:-1].shape)), totals)
    later = join(ahead, jax.tree.map(lambda a: a[:, 1:], within))

    def whole(first: Array, rest: Array) -> Array:
        joined = jnp.concatenate([first[:, :1], rest], axis=1)
        return jnp.swapaxes(joined, 0, 1).reshape((blocks * size, *first.shape[2:]))[:n]

    return jax.tree.map(whole, within, later)


def _cut(a: Array, blocks: int, size: int) -> Array:
    """(size, blocks, ...): column b is block b. What fills up the last comes after all rows."""
    fill = [(0, blocks * size - a.shape[0])] + [(0, 0)] * (a.ndim - 1)
    return jnp.swapaxes(jnp.pad(a, fill).reshape((blocks, size, *a.shape[1:])), 0, 1)


def _loop(join: Callable[[Any, Any], Any], steps: Any) -> Any:
    start = jax.tree.map(lambda a: a[0], steps)

    def step(so_far: Any, x: Any) -> tuple[Any, Any]:
        so_far = join(so_far, x)
        return so_far, so_far

    rest = jax.lax.scan(step, start, jax.tree.map(lambda a: a[1:], steps))[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, rest)
