"""The forward loop, shared by every gradient: steps in chunks, noise drawn a chunk at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.sde._flow import System, accumulate, zero_cost
from tenfold.sde._grid import Grid
from tenfold.sde._methods import AbstractMethod
from tenfold.sde._noise import AbstractBlocks, Increment


class Problem(eqx.Module):
    """All that a solve depends on."""

    system: System
    args: PyTree
    context: PyTree
    """Leaves of leading axis `grid.intervals`, or None."""
    z0: Array
    grid: Grid
    noise: AbstractBlocks
    method: AbstractMethod

    def args_of(self, context: PyTree) -> PyTree:
        """What the fields are called with: (args, context of the interval) where there is one."""
        return self.args if self.context is None else (self.args, context)

    def terms_like(self) -> Any:
        """Shapes of the terms at the start. The first of `context` stands for all."""
        first = jax.tree.map(lambda leaf: leaf[0], self.context)
        args, t = self.args_of(first), self.grid.times[0]
        return eqx.filter_eval_shape(self.system, t, self.z0, args)

    def segments(self) -> tuple[int, int]:
        """How many runs of steps see one context each and one start of the scheme, and steps in a
        run."""
        grid, whole = self.grid, self.context is None and not self.method.restarts
        return (1, grid.n) if whole else (grid.intervals, grid.substeps)


class Saved(NamedTuple):
    """What a solve gives."""

    zs: Array
    """The state at each of `ts`."""
    cost: Array | None
    """The total cost; None without one."""
    strain: Array | None = None
    """The largest `AbstractMethod.apart` at the end of a run of steps, over the largest mean
    distance of z from z0 on the way: above 1 the scheme was unstable. No gradient."""


def chunk_of(problem: Problem) -> int:
    return min(problem.noise.preferred, problem.segments()[1])


def in_chunks(
    body: Callable[[Any, tuple[Array, Increment, Any]], Any],
    carry: Any,
    noise: AbstractBlocks,
    first: Any,
    n: int,
    chunk: int,
    *,
    reverse: bool = False,
    wrap: Callable = lambda f: f,
    extra: Callable[[Array], Any] = lambda i: None,
) -> Any:
    """`carry = body(carry, (i, increment i, extra(i)))` for i = first .. first + n - 1 (or back).

    Two nested scans: the outer one draws the noise of a chunk at once, and `extra`, which is
    given the steps of a chunk as a vector.
    """

    def run(carry: Any, start: Any, size: int) -> Any:
        i = start + jnp.arange(size, dtype=jnp.int32)
        steps = (i, noise(start, size), extra(i))
        return jax.lax.scan(lambda c, x: (body(c, x), None), carry, steps, reverse=reverse)[0]

    whole, rest = divmod(n, chunk)

    def chunks(carry: Any) -> Any:
        def one(c: Any, k: Array):
            return wrap(lambda c: run(c, first + k * chunk, chunk))(c), None

        return jax.lax.scan(one, carry, jnp.arange(whole, dtype=jnp.int32), reverse=reverse)[0]

    def remainder(carry: Any) -> Any:
        return wrap(lambda c: run(c, first + whole * chunk, rest))(carry) if rest else carry

    return chunks(remainder(carry)) if reverse else remainder(chunks(carry))


class AtEnds(NamedTuple):
    """What a way back needs at the right end of each step: was it one of `ts`, and if so what."""

    saved: Array
    z: Array
    """The state that was saved there."""
    arriving: Array
    """Its cotangent; 0 where nothing was saved."""


def at_ends(i: Array, grid: Grid, zs: Array, ct_zs: Array) -> AtEnds:
    """For a vector of steps at once: a lookup and a choice in each step cost more than an add."""
    k, rest = (i + 1) // grid.substeps, (i + 1) % grid.substeps
    saved = rest == 0
    wide = saved.reshape((-1,) + (1,) * (zs.ndim - 1))
    return AtEnds(saved, zs[k], jnp.where(wide, ct_zs[k], 0))


class Progress(eqx.Module):
    """What a forward solve has reached, and what it wrote down on the way."""

    z: Array
    cost: Array | None
    zs: Array
    """The state at each of `ts`, so far."""
    apart: Array | None
    """The largest so far; and the largest mean distance of z from z0."""
    far: Array | None
    anchors: tuple[Array, Any] | None
    """z and what the scheme keeps beside it at every so many steps, where that was asked for."""

    @property
    def saved(self) -> Saved:
        if self.apart is None or self.far is None:
            return Saved(self.zs, self.cost)
        # Where z stays where it was, rounding is no instability.
        rounding = jnp.finfo(self.z.dtype).eps ** 0.5 * jnp.mean(jnp.abs(self.z))
        strain = jnp.where(self.apart > 0, self.apart / (self.far + rounding), 0 * self.apart)
        return Saved(self.zs, self.cost, jax.lax.stop_gradient(strain))


def march(
    problem: Problem,
    *,
    chunk: int | None = None,
    anchor_every: int | None = None,
    wrap: Callable = lambda f: f,
) -> tuple[Progress, Any]:
    """Solves forward: all that was reached, and what the scheme kept at the end of each run of
    steps (`Problem.segments`), with a leading axis."""
    system, method, z0 = problem.system, problem.method, problem.z0
    length = problem.segments()[1]
    chunk = chunk_of(problem) if chunk is None else min(chunk, length)

    def segment(state: Any, first: Any, context: PyTree) -> tuple[Any, Any]:
        progress, kept = state
        kept = method.start(progress.z) if method.restarts else kept
        args = problem.args_of(context)
        carried = method.enter(system, problem.grid.times[first], kept, args)
        progress, carried = in_chunks(
            _step(problem, args, anchor_every),
            (progress, carried),
            problem.noise,
            first,
            length,
            chunk,
            wrap=wrap,
        )
        kept = method.leave(carried)
        apart = method.apart(*jax.lax.stop_gradient((progress.z, kept)))
        if apart is not None and progress.apart is not None:
            apart = jnp.maximum(progress.apart, apart)
        return (replace(progress, apart=apart), kept), kept

    zs, anchors, kept = _slots(z0, problem.grid.intervals), None, method.start(z0)
    if anchor_every is not None:
        count = problem.grid.n // anchor_every
        anchors = jax.tree.map(lambda first: _slots(first, count), (z0, kept))
    apart = method.apart(z0, kept)
    progress = Progress(z0, zero_cost(system, z0), zs, apart, apart, anchors)
    (progress, _), kepts = over_segments(problem, segment, (progress, kept))
    return progress, kepts


def over_segments(
    problem: Problem, segment: Callable, state: Any, *, reverse: bool = False
) -> tuple[Any, Any]:
    """`state, out = segment(state, first step, context)` for every run of steps that shares a
    context and a start; stacks what comes out."""
    count, length = problem.segments()
    if count == 1 and problem.context is None:
        state, out = segment(state, jnp.int32(0), None)
        return state, jax.tree.map(lambda leaf: leaf[None], out)
    x = jnp.arange(count, dtype=jnp.int32) * length, problem.context
    return jax.lax.scan(lambda s, x: segment(s, *x), state, x, reverse=reverse)


def _slots(z: Array, count: int) -> Array:
    """Room for `count` states after z itself."""
    return jnp.zeros((count + 1, *z.shape), z.dtype).at[0].set(z)


def _step(problem: Problem, args: PyTree, anchor_every: int | None) -> Callable:
    grid, t, method = problem.grid, problem.grid.times, problem.method

    def body(state: Any, x: tuple[Array, Increment, None]) -> Any:
        progress, carried = state
        i, dw, _ = x
        z, grown, carried = method.step(
            problem.system, t[i], t[i + 1] - t[i], dw, progress.z, carried, args
        )
        # Of the writes to one slot, that of the last step stays.
        zs = progress.zs.at[i // grid.substeps + 1].set(z)
        anchors = progress.anchors
        if anchors is not None and anchor_every is not None:
            slot, pair = i // anchor_every + 1, (z, method.leave(carried))
            anchors = jax.tree.map(lambda a, value: a.at[slot].set(value), anchors, pair)
        cost, far = accumulate(progress.cost, grown), progress.far
        if far is not None:
            gone = jax.lax.stop_gradient(z - problem.z0)
            far = jnp.maximum(far, jnp.mean(jnp.abs(gone)))
        return Progress(z, cost, zs, progress.apart, far, anchors), carried

    return body
