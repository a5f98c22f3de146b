"""`sdesolve`: an SDE along a given Brownian path, and its gradient."""

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, PyTree

from tenfold.base import RESULTS
from tenfold.base.typing import Key
from tenfold.sde._adaptive import Adaptive, check_adaptive, solve_adaptively
from tenfold.sde._anytime import TimedBlocks, check_covered
from tenfold.sde._backsolve import Backsolve
from tenfold.sde._dyadic import DyadicNoise
from tenfold.sde._exact import Exact
from tenfold.sde._flow import PathCost, System
from tenfold.sde._gradients import AbstractGradient, Checkpoint
from tenfold.sde._grid import Grid, concrete, refined
from tenfold.sde._march import Problem, Saved
from tenfold.sde._methods import AbstractMethod, ReversibleHeun, check_fits
from tenfold.sde._noise import AbstractNoise, GridNoise
from tenfold.sde._sde import SDE, brownian_shape


class Solution(eqx.Module):
    """What `sdesolve` returns."""

    ts: Array
    """The times asked for, (T,)."""
    zs: Array
    """The states there, (T, ..., d); the first is z0."""
    cost: Array | None
    """The integral of `path_cost`, of the shape of the batch; None without one."""
    result: RESULTS
    """`successful`, `nonfinite`, or `unstable`, where the scheme's own state moved away from z by
    more than z moved (in a mean over the batch; not told of adaptive steps); look at it on the host
    with `base.raise_if_bad`."""
    stats: dict[str, Any]
    """`steps` taken, and `rejected` ones (arrays)."""


def sdesolve(
    sde: SDE,
    z0: ArrayLike,
    ts: ArrayLike,
    noise: AbstractNoise | Key,
    *,
    args: PyTree = None,
    context: PyTree = None,
    method: AbstractMethod | None = None,
    substeps: int = 1,
    steps: Adaptive | None = None,
    gradient: AbstractGradient | None = None,
    path_cost: PathCost | None = None,
) -> Solution:
    r"""Solves an SDE from ts[0], saving the state at each of `ts`.

    **Arguments:**

    - `sde`; `z0` of shape (..., d), whose leading axes are a batch; `ts` (T,), increasing.
    - `noise`: a Brownian motion, or a key, which stands for a `GridNoise` on the steps of the
      solve. The same noise gives the same path, at any number of steps that it can serve.
    - `args`: passed to the fields.
    - `context`: a pytree with leading axes T - 1: what the fields see between ts[i] and ts[i + 1].
      They are then called with `args=(args, context of the interval)`. It is found by index, never
      by looking up a time.
    - `method`: by default `ReversibleHeun()`, which starts anew at each of `ts`; between two of
      them it may be unstable where a drift contracts by more than exp(-3), and the result says
      so. `substeps`: equal steps between two of `ts`.
    - `steps`: `Adaptive(rtol, atol)` chooses the steps by their error, and then `Backsolve` the
      gradient.
    - `gradient`: how to differentiate: `Exact()` (default with `ReversibleHeun`), `Checkpoint()`
      (default otherwise), `Store()`, `Backsolve()`. Trained arrays must be in `sde`, `path_cost`,
      `args`, `context` or `z0`.
    - `path_cost`: `(t, z, drift, diffusion, args) -> rate` of shape z.shape[:-1], integrated along
      the path (a KL rate, say); drift and diffusion are the fields' values at (t, z). It may
      return `Rates` instead, to add an Ito integral.

    **Returns:** `Solution`.

    **Raises:** `ValueError` for times that don't increase or aren't on the noise's grid, a start
    that isn't finite, fields of the wrong shape, a context of the wrong length, a scheme that
    doesn't fit the noise type (with the table of those that do), and fields that close over an
    array being traced.

    **Cost:** the evaluations of the scheme; one batched normal draw a chunk of steps. Memory
    O(T) for what is saved, and what `gradient` needs.
    """
    _check_ways(method, gradient, noise)
    z0 = _start(z0)
    grid = refined(ts, substeps, z0.dtype)
    method = ReversibleHeun() if method is None else method
    check_fits(method, sde)
    noise = _noise(sde, z0, grid, noise, args, context, _own(method, steps))
    if steps is not None:
        check_adaptive(sde, method, noise, gradient, substeps)
        gradient, blocks = Backsolve(), _any_time(noise, grid, method)
    else:
        blocks = noise.on(grid, area=method.needs_area)
    if gradient is None:
        gradient = Exact() if isinstance(method, ReversibleHeun) else Checkpoint()
    problem = Problem(
        system=System(sde, path_cost, method.calculus(sde)),
        args=args,
        context=_floats(context),
        z0=z0,
        grid=grid,
        noise=blocks,
        method=method,
    )
    gradient.check(problem)
    _check_cost(problem, noise.shape)
    if steps is not None:
        saved, result, stats = solve_adaptively(problem, steps)
        result = RESULTS.where(result == RESULTS.successful, _result(saved), result)
    else:
        saved = gradient(problem)
        result, stats = _result(saved), _stats(grid)
    return Solution(grid.times[::substeps], saved.zs, saved.cost, result, stats)


def _check_ways(method: Any, gradient: Any, noise: Any) -> None:
    """**Raises:** `ValueError` for names and classes in the place of objects."""
    for name, value, kind, such in (
        ("method", method, AbstractMethod, "Heun()"),
        ("gradient", gradient, AbstractGradient, "Exact()"),
    ):
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"sde: `{name}` must be an object such as sde.{such}, got {value!r}")
    if isinstance(noise, dfx.AbstractBrownianPath) and not isinstance(noise, AbstractNoise):
        raise ValueError(
            "sde: `noise` is a Brownian motion of Diffrax's; wrap it: sde.DiffraxNoise(path)"
        )


def _own(method: AbstractMethod, steps: Adaptive | None) -> Callable[[Key, Any, Grid], Any]:
    """The noise that a key stands for."""

    def on_grid(key: Key, shape: tuple[int, ...], grid: Grid) -> AbstractNoise:
        return GridNoise.at(key, shape, grid.times, dtype=grid.times.dtype)

    def any_time(key: Key, shape: tuple[int, ...], grid: Grid) -> AbstractNoise:
        t0, t1, dtype = grid.times[0], grid.times[-1], grid.times.dtype
        return DyadicNoise(key, shape, t0, t1, 20, area=method.needs_area, dtype=dtype)

    return on_grid if steps is None else any_time


def _any_time(noise: Any, grid: Grid, method: AbstractMethod) -> TimedBlocks:
    check_covered("sde", grid.times, noise.t0, noise.t1)
    return TimedBlocks(noise=noise, times=grid.times, area=method.needs_area)


def _start(z0: ArrayLike) -> Array:
    z0 = jnp.asarray(z0)
    if not jnp.issubdtype(z0.dtype, jnp.floating):
        raise ValueError(f"sde: `z0` must be a floating-point array, got {z0.dtype}")
    known = concrete(z0)
    if known is not None and not np.isfinite(known).all():
        bad = np.argwhere(~np.isfinite(known))[0].tolist()
        raise ValueError(f"sde: `z0` is not finite at index {bad}")
    return z0


def _floats(tree: PyTree) -> PyTree:
    """Python numbers as arrays, so that they get their gradient."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, float | np.ndarray) else x, tree)


def _noise(
    sde: SDE, z0: Array, grid: Grid, noise: Any, args: Any, context: Any, own: Any
) -> AbstractNoise:
    for leaf in jax.tree.leaves(context):
        if jnp.ndim(leaf) < 1 or jnp.shape(leaf)[0] != grid.intervals:
            raise ValueError(
                f"sde: `context` must have one entry for each of the {grid.intervals} intervals "
                f"of `ts`, got a leaf of shape {jnp.shape(leaf)}"
            )
    seen = args if context is None else (args, jax.tree.map(lambda leaf: leaf[0], context))
    shape = brownian_shape(sde, grid.times[0], z0, seen)
    if not isinstance(noise, AbstractNoise):
        return own(noise, shape, grid)
    if noise.shape != shape or noise.dtype != z0.dtype:
        raise ValueError(
            f"sde: with {sde.noise} noise and a state {z0.dtype}{list(z0.shape)} the Brownian "
            f"motion must be {z0.dtype}{list(shape)}, `noise` is {noise.dtype}{list(noise.shape)}"
        )
    return noise


def _check_cost(problem: Problem, shape: tuple[int, ...]) -> None:
    z, terms = problem.z0, problem.terms_like()
    rate, along = terms.k, terms.m
    if along is not None and along.shape != shape:
        raise ValueError(
            f"sde: `Rates.dw` of `path_cost` must have the Brownian motion's shape {shape}, "
            f"got {along.shape}"
        )
    if rate is not None and (rate.shape, rate.dtype) != (z.shape[:-1], z.dtype):
        raise ValueError(
            f"sde: `path_cost` must return {z.dtype}{list(z.shape[:-1])}, one rate an example, "
            f"got {rate.dtype}{list(rate.shape)}"
        )


def _result(saved: Saved) -> RESULTS:
    fine = jnp.all(jnp.isfinite(saved.zs))
    if saved.cost is not None:
        fine = fine & jnp.all(jnp.isfinite(saved.cost))
    result = RESULTS.where(fine, RESULTS.successful, RESULTS.nonfinite)
    if saved.strain is None:
        return result
    return RESULTS.where(fine & (saved.strain > 1), RESULTS.unstable, result)


def _stats(grid: Grid) -> dict[str, Any]:
    return {"steps": jnp.asarray(grid.n), "rejected": jnp.asarray(0)}
