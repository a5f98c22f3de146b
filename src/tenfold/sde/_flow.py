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


class Rates(eqx.Module):
    """What a path cost may return beside a plain rate: the integrals of k dt and of m . dW.

    The second is an Ito integral, taken at the left end of each step whatever the scheme, so that
    its mean is 0 on the grid too.
    """

    dt: Array
    """k, of shape z.shape[:-1]."""
    dw: Array
    """m, of the Brownian motion's shape."""


PathCost = Callable[[Any, Array, Array, Array, Any], Array | Rates]
"""`(t, z, drift, diffusion, args) -> rate` of shape z.shape[:-1], or `Rates`; the drift and the
diffusion are those of the equation as its user wrote it, so that no field is evaluated twice."""


class Terms(eqx.Module):
    """What a scheme sees of the equation at one (t, z)."""

    f: Array
    """Drift, in the calculus of the scheme."""
    g: Array
    """Diffusion."""
    k: Array | None
    """Rate of the cost; None without one."""
    m: Array | None = None
    """Integrand of the cost's Ito integral; None without one."""


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
        if isinstance(k, Rates):
            return Terms(f, g, k.dt, k.dw), c
        return Terms(f, g, k), c

    def move(self, v: Terms, h: Any, w: Array) -> Array:
        """f h + g w."""
        return v.f * h + product(self.sde.noise, v.g, w)

    def growth(self, left: Terms, k: Array | None, h: Any, w: Array) -> Array | None:
        """What the cost grows by: k h + m w, with m at the left end of the step."""
        if k is None or left.m is None:
            return None if k is None else k * h
        along = left.m * w
        return k * h + (along if self.sde.noise == "scalar" else jnp.sum(along, axis=-1))

    def move_transpose(
        self, a: Array, h: Any, w: Array, cost: Array | None, m: Array | None = None
    ) -> Terms:
        """Cotangents of the terms, from `a` of f h + g w and `cost` of k h; `m` is m's."""
        g = product_transpose(self.sde.noise, a, w)
        return Terms(a * h, g, None if cost is None else cost * h, m)

    def growth_transpose(self, cost: Array, w: Array) -> Array:
        """The cotangent of m in `growth`."""
        return cost * w if self.sde.noise == "scalar" else cost[..., None] * w


def rate(v: Terms, h: Any) -> Array | None:
    return None if v.k is None else v.k * h


def accumulate(total: Array | None, part: Array | None) -> Array | None:
    return None if total is None or part is None else total + part


def zero_cost(system: System, z: Array) -> Array | None:
    return None if system.path_cost is None else jnp.zeros(z.shape[:-1], z.dtype)
