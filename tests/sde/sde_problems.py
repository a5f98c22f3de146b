"""SDEs with known solutions along a Brownian path, shared by the tests of `tenfold.sde`.

Each is a row of `PROBLEMS`: add one there and it inherits every test parametrised over them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from tenfold import sde


class Scaled(eqx.Module):
    """rate z: the drift or the diffusion of geometric Brownian motion."""

    rate: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return z * jnp.broadcast_to(self.rate, z.shape)


class ArctanDrift(eqx.Module):
    """-p^2 sin z cos^3 z."""

    p: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return -(self.p**2) * jnp.sin(z) * jnp.cos(z) ** 3


class ArctanDiffusion(eqx.Module):
    """p cos^2 z."""

    p: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return self.p * jnp.cos(z) ** 2


def zero(t: Any, z: Array, args: Any) -> Array:
    return jnp.zeros_like(z)


class RootDrift(eqx.Module):
    """b / sqrt(1 + t) - z / (2 + 2 t)."""

    b: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return self.b / jnp.sqrt(1 + t) - z / (2 + 2 * t)


class RootDiffusion(eqx.Module):
    """a b / sqrt(1 + t)."""

    a: Array
    b: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return self.a * self.b / jnp.sqrt(1 + t) * jnp.ones_like(z)


class Pull(eqx.Module):
    """theta (mean - z)."""

    theta: Array
    mean: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return self.theta * (jnp.broadcast_to(self.mean, z.shape) - z)


class Constant(eqx.Module):
    """A matrix (d, m), whatever t and z."""

    matrix: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return jnp.broadcast_to(self.matrix, (*z.shape[:-1], *self.matrix.shape))


def turned(a: Array, b: Array, z: Array) -> Array:
    """(a + b J) z in the plane, J a quarter turn: such matrices commute."""
    x, y = z[..., 0], z[..., 1]
    return jnp.stack([a * x - b * y, b * x + a * y], axis=-1)


class Turn(eqx.Module):
    """(a + b J) z."""

    a: Array
    b: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return turned(self.a, self.b, z)


class Turns(eqx.Module):
    """Columns (a_k + b_k J) z, shape (..., 2, m)."""

    a: Array
    b: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        pairs = zip(self.a, self.b, strict=True)
        return jnp.stack([turned(a, b, z) for a, b in pairs], axis=-1)


class Columns(eqx.Module):
    """Columns B_k z of any matrices (m, d, d), shape (..., d, m)."""

    matrices: Array

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        return jnp.stack([jnp.matvec(b, z) for b in self.matrices], axis=-1)


@dataclass(frozen=True)
class Problem:
    """An SDE on [0, 1], its start, and its solution given W(t) where that is enough."""

    name: str
    sde: Callable[[], sde.SDE]
    """Made anew in the precision in force."""
    z0: tuple[float, ...]
    exact: Callable[[sde.SDE, Array, Any, Array], Array] | None
    source: str
    commutes: bool = True

    def start(self, *batch: int, dtype: Any = jnp.float64) -> Array:
        return jnp.broadcast_to(jnp.asarray(self.z0, dtype), (*batch, len(self.z0)))


def gbm() -> sde.SDE:
    mu, s = jnp.asarray(0.1), jnp.asarray(0.3)
    return sde.SDE(Scaled(mu), Scaled(s), noise="diagonal", kind="ito")


def gbm_exact(sde: Any, z0: Array, t: Any, w: Array) -> Array:
    mu, s = sde.drift.rate, sde.diffusion.rate
    return z0 * jnp.exp((mu - s**2 / 2) * t + s * w)


def _arctan_exact(sde: Any, z0: Array, t: Any, w: Array) -> Array:
    return jnp.arctan(sde.diffusion.p * w + jnp.tan(z0))


def _root() -> sde.SDE:
    a, b = jnp.asarray(0.4), jnp.asarray(0.7)
    return sde.SDE(RootDrift(b), RootDiffusion(a, b), noise="diagonal", kind="ito")


def _root_exact(sde: Any, z0: Array, t: Any, w: Array) -> Array:
    # b stands in both fields; a gradient in each alone needs them apart.
    c, b, a = sde.drift.b, sde.diffusion.b, sde.diffusion.a
    return (z0 + c * t + b * a * w) / jnp.sqrt(1 + t)


def _scalar(kind: str) -> Callable[[], sde.SDE]:
    def make() -> sde.SDE:
        drift = Turn(jnp.asarray(-0.2), jnp.asarray(0.5))
        diffusion = Turn(jnp.asarray(0.3), jnp.asarray(-0.4))
        return sde.SDE(drift, diffusion, noise="scalar", kind=kind)

    return make


def _turned_exact(sde: Any, z0: Array, t: Any, w: Array) -> Array:
    """exp(x + y J) z0 with x + y i = (A - B^2 / 2) t + B W as complex numbers (no B^2 for
    Stratonovich)."""
    f, g = sde.drift, sde.diffusion
    half = 0.5 if sde.kind == "ito" else 0.0
    w = w if sde.noise == "general" else w[..., None]
    x = (f.a - half * jnp.sum(g.a**2 - g.b**2)) * t + jnp.sum(g.a * w, axis=-1)
    y = (f.b - half * jnp.sum(2 * g.a * g.b)) * t + jnp.sum(g.b * w, axis=-1)
    return jnp.exp(x)[..., None] * turned(jnp.cos(y), jnp.sin(y), z0)


def _general() -> sde.SDE:
    drift = Turn(jnp.asarray(-0.2), jnp.asarray(0.5))
    diffusion = Turns(jnp.asarray([0.3, 0.1]), jnp.asarray([-0.2, 0.4]))
    return sde.SDE(drift, diffusion, noise="general", kind="ito")


def _noncommuting() -> sde.SDE:
    matrices = jnp.asarray([[[0.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.5, 0.0]]])
    drift = Turn(jnp.asarray(-0.2), jnp.asarray(0.5))
    return sde.SDE(drift, Columns(matrices), noise="general", kind="stratonovich")


def _ou() -> sde.SDE:
    drift = Pull(jnp.asarray(0.8), jnp.asarray([0.3, -0.2]))
    matrix = jnp.asarray([[0.4, 0.1, 0.0], [0.0, 0.2, 0.3]])
    return sde.SDE(drift, Constant(matrix), noise="additive", kind="ito")


def _arctan() -> sde.SDE:
    p = jnp.asarray(0.7)
    return sde.SDE(ArctanDrift(p), ArctanDiffusion(p), noise="diagonal", kind="ito")


def _arctan_stratonovich() -> sde.SDE:
    return sde.SDE(zero, ArctanDiffusion(jnp.asarray(0.7)), noise="diagonal", kind="stratonovich")


_TORCHSDE = "torchsde's tests/problems.py; checked by Ito's formula."

GBM = Problem("gbm", gbm, (1.5,), gbm_exact, "Ito's formula for log z.")
ARCTAN = Problem("arctan", _arctan, (0.2, -0.5), _arctan_exact, _TORCHSDE)
ARCTAN_STRATONOVICH = Problem(
    "arctan, Stratonovich",
    _arctan_stratonovich,
    (0.2, -0.5),
    _arctan_exact,
    "The chain rule: d tan z = p o dW.",
)
ROOT = Problem("1/sqrt(1+t)", _root, (0.2, -0.5), _root_exact, _TORCHSDE)
SCALAR = Problem(
    "scalar", _scalar("ito"), (1.0, 0.5), _turned_exact, "Commuting A, B: z = expm(...) z0."
)
SCALAR_STRATONOVICH = Problem(
    "scalar, Stratonovich", _scalar("stratonovich"), (1.0, 0.5), _turned_exact, SCALAR.source
)
GENERAL = Problem("general, commuting", _general, (1.0, 0.5), _turned_exact, SCALAR.source)
NONCOMMUTING = Problem(
    "general, not commuting",
    _noncommuting,
    (1.0, 0.5),
    None,
    "B_1 B_2 != B_2 B_1: no closed form; a finer solve stands for it.",
    commutes=False,
)
OU = Problem("ou", _ou, (1.0, 0.5), None, "The solution needs more of the path than W(1).")

PROBLEMS = (
    GBM,
    ARCTAN,
    ARCTAN_STRATONOVICH,
    ROOT,
    SCALAR,
    SCALAR_STRATONOVICH,
    GENERAL,
    NONCOMMUTING,
    OU,
)
