"""A gradient training that keeps its best model on validation data, and its optimiser."""

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array


@cache
def adam(rate: float, decay: float) -> optax.GradientTransformation:
    """Adam with clipped gradients and a rate that decays a step; cached, so that equal trainings
    share a compiled step."""
    schedule = optax.exponential_decay(rate, 1, decay)
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))


class Selected(eqx.Module):
    """The state of `SelectingStep`; `model` is the best so far."""

    model: Any
    current: Any
    opt_state: Any
    step: Array
    score: Array
    """Validation score of `model`; lower is better."""
    chosen: Array
    """The step after which it was taken."""


class SelectingStep(eqx.Module):
    """`advance` for `lab.train.fit`: an Optax update; every so many, a look at the validation data.

    `loss(model, batch, key) -> (scalar, metrics)`; `score(model) -> scalar`.
    """

    loss: Callable
    optimiser: optax.GradientTransformation
    score: Callable[[Any], Array]
    every: int = eqx.field(static=True)

    def init(self, model: Any) -> Selected:
        opt_state = self.optimiser.init(eqx.filter(model, eqx.is_inexact_array))
        worst = jnp.array(jnp.inf, jnp.float32)
        return Selected(model, model, opt_state, jnp.int32(0), worst, jnp.int32(0))

    def __call__(self, state: Selected, batch: Any, key: Array):
        compute = eqx.filter_value_and_grad(self.loss, has_aux=True)
        (loss, metrics), gradient = compute(state.current, batch, key)
        parameters = eqx.filter(state.current, eqx.is_inexact_array)
        updates, opt_state = self.optimiser.update(gradient, state.opt_state, parameters)
        current, step = eqx.apply_updates(state.current, updates), state.step + 1
        arrays, static = eqx.partition(current, eqx.is_array)
        score = jax.lax.cond(
            step % self.every == 0,
            lambda arrays: self.score(eqx.combine(arrays, static)),
            lambda arrays: jnp.array(jnp.inf, jnp.float32),
            arrays,
        )
        better = score < state.score
        kept = eqx.filter(state.model, eqx.is_array)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), arrays, kept)
        score, chosen = jnp.minimum(score, state.score), jnp.where(better, step, state.chosen)
        model = eqx.combine(best, static)
        state = Selected(model, current, opt_state, step, score, chosen)
        return state, {"loss": loss, **metrics}
