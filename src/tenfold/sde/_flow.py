"""One evaluation of everything that a scheme needs: drift, diffusion and the rate of the cost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from tenfold.sde._sde import (
    SDE,
    Calculus,
    diffusion_and_correction,
    product,
    product_transpose,
)

PathCost = Callable[[Any, Array, Array, Array, Any], Array]
"""`(t, z, drift, diffusion, args) -> rate` of shape z.shape[:-1]; the drift and the diffusion are
those of the equation as its user wrote it, so that no field is evaluated twice."""


class Terms(eqx.Module):
    """What a scheme sees of the equation at one (t, z)."""

    f: Array
    """Drift, in the calculus of the scheme."""
    g: Array
    """Diffusion."""
    k: Array | None
    """Rate of the cost; None without one."""


class System(eqx.Module):
    """The equation, the cost along its paths, and the calculus in which a scheme wants it."""

    sde: SDE
    path_cost: PathCost | None
    kind: Calculus = eqx.field(static=True)

    def __call__(self, t: Any, z: Array, args: Any) -> Terms:
        return self.evaluated(t, z, args)[0]

    def evaluated(self, t: Any, z: Array, args: Any, *, correct: bool = False):
        """The terms, and the correction c (None where neither scheme nor calculus wants it)."""
        sde = self.sde
        f = sde.drift(t, z, args)
        other = sde.kind != self.kind and sde.noise != "additive"
        if other or correct:
            g, c = diffusion_and_correction(sde, t, z, args)
        else:
            g, c = sde.diffusion(t, z, args), None
        k = None if self.path_cost is None else self.path_cost(t, z, f, g, args)
        if other and c is not None:
            f = f + (-0.5 if self.kind == "stratonovich" else 0.5) * c
        return Terms(f, g, k), c

    def move(self, v: Terms, h: Any, w: Array) -> Array:
        """f h + g w."""
        return v.f * h + product(self.sde.noise, v.g, w)

    def move_transpose(self, a: Array, h: Any, w: Array, cost: Array | None) -> Terms:
        """Cotangents of the terms, from `a` of f h + g w and `cost` of k h."""
        g = product_transpose(self.sde.noise, a, w)
        return Terms(a * h, g, None if cost is None else cost * h)


def rate(v: Terms, h: Any) -> Array | None:
    return None if v.k is None else v.k * h


def accumulate(total: Array | None, part: Array | None) -> Array | None:
    return None if total is None or part is None else total + part


def zero_cost(system: System, z: Array) -> Array | None:
    return None if system.path_cost is None else jnp.zeros(z.shape[:-1], z.dtype)
