"""One jitted scan of optimiser steps, for what a package's users must train."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from tenfold.base.typing import Key


@eqx.filter_jit
def fit(
    loss: Callable[[Any, Any], Any],
    model: PyTree,
    optimiser: optax.GradientTransformation,
    steps: int,
    *,
    key: Key,
) -> tuple[PyTree, Float[Array, " steps"]]:
    """Minimises E_key loss(model, key) over the inexact arrays of `model`.

    **Arguments:** `loss`: `(model, key) -> ()`; step i has the key `fold_in(key, i)`. `optimiser`:
    Optax's; a schedule for the learning rate goes in there.

    **Returns:** the model after `steps` steps, and the loss before each of them.

    **Raises:** ValueError if `steps` is below 1. For checkpoints and logs see `tenfold.lab`.
    """
    if steps < 1:
        raise ValueError(f"fit: `steps` must be at least 1, got {steps}")
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)

    def total(parameters: PyTree, key: Key) -> Any:
        return loss(eqx.combine(parameters, rest), key)

    def step(carry: tuple, i: Array) -> tuple:
        parameters, state = carry
        value, slopes = jax.value_and_grad(total)(parameters, jax.random.fold_in(key, i))
        with jax.numpy_dtype_promotion("standard"):  # Optax takes powers of integers
            updates, state = optimiser.update(slopes, state, parameters)
            return (optax.apply_updates(parameters, updates), state), value

    start = (parameters, optimiser.init(parameters))
    order = jnp.arange(steps, dtype=jnp.int32)
    (parameters, _), losses = jax.lax.scan(step, start, order)
    return eqx.combine(parameters, rest), losses
