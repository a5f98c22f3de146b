"""The Kullback-Leibler divergence of two path measures that share a diffusion (Girsanov)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import Array

from tenfold.sde._flow import Rates
from tenfold.sde._sde import Field, NoiseType


def control(f: Array, h: Array, g: Array, noise: NoiseType) -> Array:
    r"""u with g u = f - h, of the Brownian motion's shape: what turns the drift h into f.

    Diagonal noise: a division. Otherwise the least-squares solution (of least norm when g has
    more columns than rows). Where f - h is not in the range of g the two measures are singular
    and the true divergence is infinite; that can't be seen here.
    """
    gap = f - h
    if noise == "diagonal":
        return gap / g
    if noise == "scalar":
        return jnp.sum(g * gap, axis=-1) / jnp.sum(g * g, axis=-1)
    columns = jnp.broadcast_to(g, (*gap.shape, g.shape[-1]))
    solve = jnp.vectorize(_least_squares, signature="(d,m),(d)->(m)")
    return solve(columns, gap)


def _least_squares(g: Array, gap: Array) -> Array:
    operator, solver = lx.MatrixLinearOperator(g), lx.AutoLinearSolver(well_posed=None)
    return lx.linear_solve(operator, gap, solver, throw=False).value


def half_square(u: Array, noise: NoiseType) -> Array:
    return 0.5 * (u * u if noise == "scalar" else jnp.sum(u * u, axis=-1))


def kl_rate(f: Array, h: Array, g: Array, noise: NoiseType) -> Array:
    r"""Rate at which the divergence of dz = f dt + g dW from dz = h dt + g dW grows.

    $$KL = E \int \frac{1}{2} |u|^2 dt, \qquad g u = f - h$$

    The expectation is over the process with drift f. Both drifts are of one calculus, either one:
    their difference is the same.

    **Arguments:** `f`, `h` of shape (..., d); `g` and `noise` as in `SDE`; a general g must have
    full rank.

    **Returns:** shape (...), nan where g has not. (arXiv 2001.01328, section 5, equation 10.)
    """
    return half_square(control(f, h, g, noise), noise)


class PathKL(eqx.Module):
    """`kl_rate` as the `path_cost` of a solve whose drift is the posterior's."""

    prior: Field
    """The drift h, `(t, z, args) -> (..., d)`; called with `args=None`."""
    noise: NoiseType = eqx.field(static=True, default="diagonal")

    def __call__(self, t: Any, z: Array, drift: Array, diffusion: Array, args: Any) -> Array:
        del args
        return kl_rate(drift, self.prior(t, z, None), diffusion, self.noise)


class StuckPathKL(eqx.Module):
    r"""`PathKL` whose gradient "sticks the landing" (Roeder et al. 2017; Xu et al. 2022).

    $$\int \frac{1}{2} |u(t, z)|^2 dt + \int u(t, z; \mathrm{stop}(\theta)) \cdot dW$$

    The Ito integral has mean 0, and so has its gradient: parameters (context included) are
    stopped, z is not. It cancels the noise of the first term's gradient where the posterior is
    the true one.

    **Cost:** the posterior's drift and the diffusion are evaluated a second time.
    """

    prior: Field
    drift: Field
    diffusion: Callable
    noise: NoiseType = eqx.field(static=True, default="diagonal")

    def __call__(self, t: Any, z: Array, drift: Array, diffusion: Array, args: Any) -> Rates:
        rate = kl_rate(drift, self.prior(t, z, None), diffusion, self.noise)
        stuck, args = jax.lax.stop_gradient((eqx.filter(self, eqx.is_array), args))
        still = eqx.combine(stuck, self)
        f, h = still.drift(t, z, args), still.prior(t, z, None)
        return Rates(rate, control(f, h, still.diffusion(t, z, args), self.noise))
