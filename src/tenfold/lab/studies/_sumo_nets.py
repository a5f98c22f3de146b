"""What the models of the sumo study share: encoders, priors, bounds as losses, the optimiser."""

from collections.abc import Callable
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from tenfold import sumo
from tenfold.base import normal_log_prob
from tenfold.nets import DenseMLP


class Encoder(eqx.Module):
    """N(mean, diag scale^2) from a net of x, or of `features(x)`."""

    net: DenseMLP
    features: Callable[[Array], Array] = eqx.field(static=True, default=lambda x: x)

    def __call__(self, x: Array) -> sumo.DiagonalNormal:
        mean, scale = jnp.split(self.net(self.features(x)), 2)
        return sumo.DiagonalNormal(mean, jax.nn.softplus(scale + 0.5) + 1e-3)


def prior_log_prob(z: Array) -> Array:
    """Of N(0, I)."""
    return normal_log_prob(z, jnp.zeros((), z.dtype), jnp.ones((), z.dtype))


def stopped(tree: Any) -> Any:
    """The tree, through which no gradient goes."""
    floats, rest = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(floats), rest)


def ascending(bound: Array) -> Array:
    """0, whose gradient is that of -mean(bound): for an encoder that keeps its bound tight."""
    up = jnp.mean(bound)
    return jax.lax.stop_gradient(up) - up


@cache
def adam(rate: float, steps: int, clip: float = 10.0) -> optax.GradientTransformation:
    """Adam with a rate that falls to 0; the first state is the report of the clipping. Cached, so
    that equal trainings share a compiled step."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax.chain(sumo.clip_unbiased(clip), optax.adam(schedule))
