"""A stochastic differential equation, its noise and its calculus."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, PyTree

from tenfold.base import value_and_jacobian_diagonal

NoiseType = Literal["diagonal", "scalar", "additive", "general"]
Calculus = Literal["ito", "stratonovich"]
Field = Callable[[Any, Array, Any], Array]
"""`(t, z, args) -> array`, Diffrax's convention."""

SHAPES = {
    "diagonal": "(..., d), entry i a function of t and z_i alone",
    "scalar": "(..., d), one Brownian motion for all entries",
    "additive": "(..., d, m), the same for every z",
    "general": "(..., d, m)",
}
"""Shape of the diffusion by noise type, for a state of shape (..., d)."""


class SDE(eqx.Module):
    r"""dz = f(t, z) dt + g(t, z) dW, in the Ito or the Stratonovich calculus.

    **Arguments:**

    - `drift`, `diffusion`: `(t, z, args) -> array`. The state z has shape (..., d): leading axes
      are a batch that shares weights (one matrix product for all of it; see `base.vmapped`).
      What is to be trained must be an array in a field of these modules, or in `args`. Python's
      numbers there are constants, and a function may close over constants only.
    - `noise`: the shape of the diffusion, and of the Brownian motion W:
        - `diagonal`: (..., d), W of shape (..., d); entry i must not depend on z_j, j != i, unless
          the module has a method `value_and_jacobian_diagonal` (then order 1 is lost, see
          `general`);
        - `scalar`: (..., d), W of shape (...);
        - `additive`: (..., d, m), W of shape (..., m); it must not depend on z;
        - `general`: (..., d, m), W of shape (..., m).
    - `kind`: `ito` or `stratonovich`.

    **Raises:** `ValueError` for another noise type or calculus.
    """

    drift: Field
    diffusion: Field
    noise: NoiseType = eqx.field(static=True)
    kind: Calculus = eqx.field(static=True)

    def __init__(self, drift: Field, diffusion: Field, *, noise: str, kind: str) -> None:
        _one_of("noise", noise, get_args(NoiseType))
        _one_of("kind", kind, get_args(Calculus))
        self.drift, self.diffusion = drift, diffusion
        self.noise, self.kind = noise, kind  # pyright: ignore


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"SDE: `{name}` must be one of {', '.join(known)}; got {value!r}")


def diffusion_and_correction(sde: SDE, t: Any, z: Array, args: Any) -> tuple[Array, Array]:
    r"""g and c_i = sum_{j,k} g_kj dg_ij/dz_k; the calculi differ by half of c.

    $$f_{Strat} = f_{Ito} - c / 2$$

    **Cost:** one JVP of g (diagonal, scalar), none (additive), m of them (general).
    """

    def g(z: Array) -> Array:
        return sde.diffusion(t, z, args)

    if sde.noise == "additive":
        return g(z), jnp.zeros_like(z)
    if sde.noise == "diagonal":
        value, slope = _own_derivative(sde.diffusion, t, z, args)
        return value, value * slope
    if sde.noise == "scalar":
        value = g(z)
        return value, jax.jvp(g, (z,), (value,))[1]
    value = g(z)

    def along(column: Array, j: Array) -> Array:
        return jax.jvp(g, (z,), (column,))[1][..., j]

    columns = jax.vmap(along, in_axes=(-1, 0))(value, jnp.arange(value.shape[-1]))
    return value, jnp.sum(columns, axis=0)


def _own_derivative(diffusion: Field, t: Any, z: Array, args: Any) -> tuple[Array, Array]:
    """g and dg_i/dz_i. With g_i a function of z_i alone, one JVP along (1, ..., 1) gives it."""
    if hasattr(diffusion, "value_and_jacobian_diagonal"):
        return value_and_jacobian_diagonal(diffusion, t, z, args)
    return jax.jvp(lambda z: diffusion(t, z, args), (z,), (jnp.ones_like(z),))


class _Corrected(eqx.Module):
    """The drift in the other calculus: f + weight c."""

    sde: SDE
    weight: float = eqx.field(static=True)

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        _, correction = diffusion_and_correction(self.sde, t, z, args)
        return self.sde.drift(t, z, args) + self.weight * correction


def to_stratonovich(sde: SDE) -> SDE:
    """The same process as a Stratonovich equation; `sde` itself if it is one."""
    return _converted(sde, "stratonovich", -0.5)


def to_ito(sde: SDE) -> SDE:
    """The same process as an Ito equation; `sde` itself if it is one."""
    return _converted(sde, "ito", 0.5)


def _converted(sde: SDE, kind: Calculus, weight: float) -> SDE:
    if sde.kind == kind:
        return sde
    drift = sde.drift
    if isinstance(drift, _Corrected) and drift.weight == -weight:
        return drift.sde  # there and back is where we were
    if sde.noise != "additive":
        drift = _Corrected(sde, weight)
    return SDE(drift, sde.diffusion, noise=sde.noise, kind=kind)


def check_noise(sde: SDE, t: ArrayLike, z: ArrayLike, args: PyTree = None) -> None:
    """*Host.* Checks that the diffusion is what its label says, at the points given.

    A wrong label gives no error in a solve, but a wrong process: schemes and corrections rely on
    dg_i/dz_j = 0 for j != i (`diagonal`) and dg/dz = 0 (`additive`).

    **Arguments:** `z` (..., d): points to look at; `t`, `args`: as the fields get them there.

    **Raises:** `ValueError` that names the label, the entries and a derivative that should be 0;
    as `sdesolve` for wrong shapes.

    **Cost:** d JVPs of the diffusion a point.
    """
    z = jnp.asarray(z)
    brownian_shape(sde, t, z, args)
    if sde.noise not in ("diagonal", "additive"):
        return
    if hasattr(sde.diffusion, "value_and_jacobian_diagonal"):
        return
    points = z.reshape(-1, z.shape[-1])
    slopes = np.asarray(jax.vmap(jax.jacfwd(lambda z: sde.diffusion(t, z, args)))(points))
    wrong = np.abs(slopes).max(axis=0)
    if sde.noise == "diagonal":
        wrong = np.where(np.eye(wrong.shape[-1], dtype=bool), 0, wrong)
    # Rounding may leave crumbs where a derivative cancels.
    if not (wrong <= 100 * np.finfo(slopes.dtype).eps * (1 + np.abs(slopes).max())).all():
        *entry, j = np.unravel_index(np.argmax(np.nan_to_num(wrong, nan=np.inf)), wrong.shape)
        where = ", ".join(str(int(i)) for i in entry)
        raise ValueError(
            f"sde: the diffusion is labelled {sde.noise}, but its entry {where} depends on z[{j}] "
            f"(derivative {wrong[(*entry, j)]:.3g}); take noise='general'"
        )


def brownian_shape(sde: SDE, t: Any, z: Array, args: Any) -> tuple[int, ...]:
    """Shape of W, after a check of the shapes of drift and diffusion at z.

    **Raises:** `ValueError` naming the field, its shape and what was expected.
    """
    if z.ndim < 1:
        raise ValueError(f"sde: the state needs an axis of dimensions, (..., d); got {z.shape}")
    drift = _output("drift", sde.drift, t, z, args)
    if drift != z.shape:
        raise ValueError(f"sde: the drift has shape {drift}, the state {z.shape}; they must agree")
    shape = _output("diffusion", sde.diffusion, t, z, args)
    expected = z.shape if sde.noise in ("diagonal", "scalar") else (*z.shape, "m")
    fits = shape == z.shape if "m" not in expected else shape[:-1] == z.shape
    if not fits:
        shown = "(" + ", ".join(map(str, expected)) + ")"
        raise ValueError(
            f"sde: with {sde.noise} noise and a state {z.shape} the diffusion must have shape "
            f"{shown}, got {shape}"
        )
    if sde.noise == "diagonal":
        return z.shape
    return z.shape[:-1] if sde.noise == "scalar" else (*z.shape[:-1], shape[-1])


def _output(name: str, field: Field, t: Any, z: Array, args: Any) -> tuple[int, ...]:
    out = eqx.filter_eval_shape(field, t, z, args)
    if not hasattr(out, "shape"):
        raise ValueError(f"sde: the {name} must return one array, got {type(out).__name__}")
    if out.dtype != z.dtype:
        raise ValueError(f"sde: the {name} is {out.dtype}, the state {z.dtype}; they must agree")
    return out.shape


def product(noise: NoiseType, g: Array, w: Array) -> Array:
    """g w: what the increment w of the Brownian motion does to the state."""
    if noise == "diagonal":
        return g * w
    if noise == "scalar":
        return g * w[..., None]
    return jnp.sum(g * w[..., None, :], axis=-1)


def product_transpose(noise: NoiseType, a: Array, w: Array) -> Array:
    """The cotangent of g in `product`, from that of its result."""
    if noise == "diagonal":
        return a * w
    if noise == "scalar":
        return a * w[..., None]
    return a[..., None] * w[..., None, :]
