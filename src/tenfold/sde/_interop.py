"""To Diffrax and back: our equations and noises for its solvers, its terms and paths for ours."""

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import Array

from tenfold.sde._anytime import AbstractAnyTimeNoise, check_covered
from tenfold.sde._grid import Grid
from tenfold.sde._noise import AbstractBlocks, AbstractNoise, Increment
from tenfold.sde._sde import SDE, NoiseType, product


def as_diffrax(sde: SDE, noise: AbstractNoise) -> dfx.MultiTerm:
    """Drift and diffusion as the terms of `diffrax.diffeqsolve`.

    The diffusion is a diagonal operator with diagonal noise, an array with the others, and with a
    batch an operator that multiplies each example by its own. Which calculus is meant is the
    solver's choice: take an Ito solver for an equation of kind `ito`, and so on, or convert it
    first with `to_ito`, `to_stratonovich`.
    """
    return dfx.MultiTerm(dfx.ODETerm(sde.drift), dfx.ControlTerm(_Operators(sde), noise))


def from_diffrax(terms: dfx.MultiTerm, *, noise: NoiseType, kind: str) -> tuple[SDE, AbstractNoise]:
    """The equation and the Brownian motion in `MultiTerm(ODETerm(...), ControlTerm(..., path))`.

    **Arguments:** `noise` and `kind` as of `SDE`, since the terms don't tell. The diffusion may
    return arrays or Lineax operators.

    **Raises:** `ValueError` for other terms, and when the diffusion doesn't fit `noise`.
    """
    drift, diffusion = _drift_and_diffusion(terms)
    field, path = diffusion.vector_field, diffusion.control
    if isinstance(field, _Operators):
        if field.sde.noise != noise or field.sde.kind != kind:
            raise ValueError(
                f"from_diffrax: these terms came from an equation with {field.sde.noise} noise of "
                f"kind {field.sde.kind}, not {noise} and {kind}"
            )
        sde = field.sde
    else:
        sde = SDE(drift.vector_field, _Arrays(field, noise), noise=noise, kind=kind)
    if isinstance(path, AbstractNoise):
        return sde, path
    return sde, DiffraxNoise(path)  # pyright: ignore


def _drift_and_diffusion(terms: Any) -> tuple[dfx.ODETerm, dfx.ControlTerm]:
    found = getattr(terms, "terms", ())
    kinds = (dfx.ODETerm, dfx.ControlTerm)
    if len(found) != 2 or not all(isinstance(t, k) for t, k in zip(found, kinds)):
        shown = ", ".join(type(t).__name__ for t in found) or type(terms).__name__
        raise ValueError(
            f"from_diffrax: expected MultiTerm(ODETerm(...), ControlTerm(...)), got {shown}"
        )
    if not isinstance(found[1].control, dfx.AbstractBrownianPath):
        raise ValueError(
            "from_diffrax: the control must be a Brownian path, got "
            f"{type(found[1].control).__name__}"
        )
    return found  # pyright: ignore


class _Operators(eqx.Module):
    """A diffusion as Diffrax wants it."""

    sde: SDE

    def __call__(self, t: Any, z: Array, args: Any) -> Any:
        g = self.sde.diffusion(t, z, args)
        if self.sde.noise == "diagonal":
            return lx.DiagonalLinearOperator(g)
        return g if z.ndim == 1 else _Batched(g, self.sde.noise)


class _Batched(lx.AbstractLinearOperator):
    """Each example's diffusion times its own Brownian motion."""

    g: Array
    noise: NoiseType = eqx.field(static=True)

    def mv(self, vector: Array) -> Array:
        return product(self.noise, self.g, vector)

    def as_matrix(self) -> Array:
        w = self.in_structure()
        jacobian = jax.jacfwd(self.mv)(jnp.zeros(w.shape, w.dtype))
        return jacobian.reshape((self.out_size(), self.in_size()))

    def transpose(self) -> lx.AbstractLinearOperator:
        return lx.FunctionLinearOperator(
            lambda z: jax.linear_transpose(self.mv, self.in_structure())(z)[0],
            self.out_structure(),
        )

    def in_structure(self) -> jax.ShapeDtypeStruct:
        batch = self.g.shape[: -1 if self.noise == "scalar" else -2]
        shape = batch if self.noise == "scalar" else (*batch, self.g.shape[-1])
        return jax.ShapeDtypeStruct(shape, self.g.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        shape = self.g.shape if self.noise == "scalar" else self.g.shape[:-1]
        return jax.ShapeDtypeStruct(shape, self.g.dtype)


class _Arrays(eqx.Module):
    """A diffusion of Diffrax's as an array of the shape that the noise type has here."""

    field: Callable
    noise: NoiseType = eqx.field(static=True)

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        g = self.field(t, z, args)
        if self.noise != "diagonal":
            return g.as_matrix() if isinstance(g, lx.AbstractLinearOperator) else g
        if not isinstance(g, lx.AbstractLinearOperator):
            raise ValueError(
                "from_diffrax: with diagonal noise the diffusion must return a Lineax operator "
                f"such as DiagonalLinearOperator, got an array of shape {jnp.shape(g)}; an array "
                "is a full matrix in Diffrax, so general noise"
            )
        return lx.diagonal(g).reshape(z.shape)


class DiffraxNoise(AbstractAnyTimeNoise):
    """Any Brownian path of Diffrax as a noise, for `sdesolve`.

    **Arguments:** `path`, such as `diffrax.VirtualBrownianTree`; it must give one array. With a
    path that has space-time Levy areas `SRK` runs on it too. Keep Diffrax's advice for `tol`: below
    the steps of the solve.

    `diffrax.UnsafeBrownianPath` draws another path for every grid: it serves a solve on one grid
    and no comparison between two, and adaptive steps refuse it.

    **Raises:** `ValueError` when the path has more than one array, or no Levy area where a scheme
    needs it.
    """

    path: dfx.AbstractBrownianPath
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def __init__(self, path: dfx.AbstractBrownianPath, shape: tuple[int, ...] | None = None):
        like = eqx.filter_eval_shape(lambda path: path.evaluate(path.t0, path.t1), path)
        if not isinstance(like, jax.ShapeDtypeStruct):
            raise ValueError(f"DiffraxNoise: the path must give one array, it gives {like}")
        if shape is not None and tuple(shape) != like.shape:
            raise ValueError(f"DiffraxNoise: `shape` is {shape}, the path's is {like.shape}")
        self.path, self.shape, self.dtype = path, like.shape, like.dtype
        self.levy_area = path.levy_area

    @property
    def t0(self) -> Any:  # pyright: ignore
        return self.path.t0

    @property
    def t1(self) -> Any:  # pyright: ignore
        return self.path.t1

    @property
    def resolution(self) -> Array:
        # A VirtualBrownianTree keeps its tolerance as a share of its interval.
        tol = getattr(self.path, "tol", None)
        return jnp.asarray(0 if tol is None else tol * (self.t1 - self.t0), self.dtype)

    def between(self, t0: Any, t1: Any, *, area: bool = False) -> Increment:
        self._check_area(area)
        if isinstance(self.path, dfx.UnsafeBrownianPath):
            raise ValueError(
                "DiffraxNoise: UnsafeBrownianPath draws another path for every grid; adaptive "
                "steps need a VirtualBrownianTree"
            )
        return self._between(t0, t1, area)

    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        self._check_area(area)
        check_covered("DiffraxNoise", grid.times, self.t0, self.t1)
        return _PathBlocks(noise=self, times=grid.times, area=area)

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        return self.path.evaluate(t0, t1, left, use_levy)

    def _between(self, t0: Any, t1: Any, area: bool) -> Increment:
        if not area:
            return Increment(self.path.evaluate(t0, t1), None)
        step = self.path.evaluate(t0, t1, use_levy=True)
        return Increment(step.W, step.dt * (0.5 * step.W + step.H))

    def _check_area(self, area: bool) -> None:
        if area and not issubclass(self.levy_area, dfx.AbstractSpaceTimeLevyArea):
            raise ValueError(
                "DiffraxNoise: time integrals were asked for (SRK needs them); make the path with "
                "`levy_area=diffrax.SpaceTimeLevyArea`"
            )


class _PathBlocks(AbstractBlocks):
    """Each step asked for by itself."""

    noise: DiffraxNoise
    times: Array
    area: bool = eqx.field(static=True)
    preferred: int = eqx.field(static=True, default=32)

    def __call__(self, first: Any, size: int) -> Increment:
        i = first + jnp.arange(size)
        step = jax.vmap(lambda s, t: self.noise._between(s, t, self.area))
        return step(self.times[i], self.times[i + 1])
