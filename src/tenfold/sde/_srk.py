"""Rößler's stochastic Runge-Kutta schemes of strong order 1.5 (SIAM J. Numer. Anal. 48, 2010)."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array

from tenfold.sde._flow import System
from tenfold.sde._methods import AbstractStateless
from tenfold.sde._noise import Increment
from tenfold.sde._sde import SDE, Calculus, product


class SRK(AbstractStateless):
    """SRIW1 for diagonal and scalar noise, SRA1 for additive noise. Ito; strong order 1.5.

    Needs int_0^h W ds beside w, so a noise that can draw it. Four diffusions and two drifts a step
    (SRIW1), two of each (SRA1). The path cost is integrated with the drift's weights.
    """

    orders: ClassVar = {"diagonal": 1.5, "scalar": 1.5, "additive": 1.5}
    needs_area: ClassVar = True

    def calculus(self, sde: SDE) -> Calculus:
        del sde
        return "ito"

    def step(self, system, t, h, dw, z, carried, args):
        del carried
        if system.sde.noise == "additive":
            return (*_sra1(system, t, h, dw, z, args), None)
        return (*_sriw1(system, t, h, dw, z, args), None)


def _over(a: Array, h: Any) -> Array:
    """a / h, 0 where h is 0."""
    return jnp.where(h > 0, a / jnp.where(h > 0, h, 1), 0)


def _sra1(system: System, t: Any, h: Any, dw: Increment, z: Array, args: Any):
    assert dw.area is not None
    noise, slope = system.sde.noise, _over(dw.area, h)
    v0 = system(t, z, args)
    end = system.sde.diffusion(t + h, z, args)
    middle = z + 0.75 * h * v0.f + 1.5 * product(noise, end, slope)
    v1 = system(t + 0.75 * h, middle, args)
    drift = (v0.f + 2 * v1.f) * (h / 3)
    moved = product(noise, end, dw.w) + product(noise, v0.g - end, slope)
    return z + drift + moved, system.growth(v0, _weighted(v0.k, v1.k), h, dw.w)


def _weighted(first: Array | None, second: Array | None) -> Array | None:
    return None if first is None or second is None else (first + 2 * second) / 3


def _sriw1(system: System, t: Any, h: Any, dw: Increment, z: Array, args: Any):
    assert dw.area is not None
    noise, root = system.sde.noise, jnp.sqrt(h)

    def g(c: float, z: Array) -> Array:
        return system.sde.diffusion(t + c * h, z, args)

    def spread(g: Array, w: Array) -> Array:
        return product(noise, g, w)

    i10, i11 = _over(dw.area, h), _over(0.5 * (dw.w**2 - h), root)
    i111 = _over((dw.w**3 - 3 * h * dw.w) / 6, h)
    ones = jnp.full_like(dw.w, root)
    v0 = system(t, z, args)
    g0 = v0.g
    v1 = system(t + 0.75 * h, z + 0.75 * h * v0.f + spread(1.5 * g0, i10), args)
    g1 = g(0.25, z + 0.25 * h * v0.f + spread(0.5 * g0, ones))
    g2 = g(1.0, z + h * v0.f - spread(g0, ones))
    g3 = g(0.25, z + 0.25 * h * v0.f + spread(-5 * g0 + 3 * g1 + 0.5 * g2, ones))
    drift = (v0.f + 2 * v1.f) * (h / 3)
    moved = (
        spread(-g0 + (4 * g1 + 2 * g2) / 3, dw.w)
        + spread(-g0 + (4 * g1 - g2) / 3, i11)
        + spread(2 * g0 - (4 * g1 + 2 * g2) / 3, i10)
        + spread(-2 * g0 + (5 * g1 - 2 * g2) / 3 + g3, i111)
    )
    return z + drift + moved, system.growth(v0, _weighted(v0.k, v1.k), h, dw.w)
