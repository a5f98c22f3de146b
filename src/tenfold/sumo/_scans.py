"""Running sums of weights over many short series laid end to end, in log space.

`first` marks the row at which a series begins. Every scan is associative, so that it runs in
log(rows) passes and knows nothing of how the rows are cut.
"""

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

    return jax.lax.associative_scan(join, (first, logw))[1]


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

    _, top, rest = jax.lax.associative_scan(join, (first, logw, jnp.full_like(logw, NOTHING)))
    return top, rest


def linear_recurrence(
    keep: Float[Array, "rows n"], add: Float[Array, "rows n"]
) -> Float[Array, "rows n"]:
    """x_i = keep_i x_{i-1} + add_i, with x_{-1} = 0."""

    def join(a: Any, b: Any) -> Any:
        (keep_a, add_a), (keep_b, add_b) = a, b
        return keep_a * keep_b, keep_b * add_a + add_b

    return jax.lax.associative_scan(join, (keep, add))[1]


def before(x: Num[Array, " rows"]) -> Num[Array, " rows"]:
    """The row above; the first sees itself."""
    return jnp.concatenate([x[:1], x[:-1]])
