"""Sums and maxima over all rows but one, by what stands before it and what stands after.

Subtracting the row from a sum over all of them would leak it by rounding: in float32, with one
entry of 1e6, the rest keeps one digit.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def exclusive_sum(rows: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Row i: the sum of the rows j != i."""
    zero = jnp.zeros_like(rows[:1])
    before = jnp.concatenate([zero, jnp.cumsum(rows, axis=0)[:-1]])
    after = jnp.concatenate([jax.lax.cumsum(rows, axis=0, reverse=True)[1:], zero])
    return before + after


def exclusive_max(rows: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """Row i: the maximum of the rows j != i; 0 if there are none."""
    if rows.shape[0] == 1:
        return jnp.zeros_like(rows)
    before = jax.lax.cummax(rows, axis=0)
    after = jax.lax.cummax(rows, axis=0, reverse=True)
    inside = jnp.maximum(before[:-2], after[2:])
    return jnp.concatenate([after[1:2], inside, before[-2:-1]])
