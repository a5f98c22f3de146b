"""The adjoint of a solve with adaptive steps: backwards over the steps that were accepted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.sde._anytime import TimedBlocks
from tenfold.sde._backsolve import (
    adjoint_stage,
    adjoint_step,
    in_calculus,
    in_stratonovich,
)
from tenfold.sde._march import Problem
from tenfold.sde._noise import Increment
from tenfold.sde._split import Trained, trained_fields, zeros_like


def halves_of(problem: Problem, t0: Array, middle: Array, t1: Array) -> tuple[Increment, Increment]:
    """The increments from t0 to the middle and from there to t1."""
    assert isinstance(problem.noise, TimedBlocks)
    blocks = problem.noise
    ends = jnp.stack([t0, middle]), jnp.stack([middle, t1])
    steps = jax.vmap(lambda s, t: blocks.noise.between(s, t, area=blocks.area))(*ends)
    return jax.tree.map(lambda x: x[0], steps), jax.tree.map(lambda x: x[1], steps)


class _Back(NamedTuple):
    """On the way back: after `step` accepted steps, in an interval."""

    step: Array
    interval: Array
    state: Any
    """z, its adjoint, the gradients in the fields' arrays and in the context of all intervals."""


def adjoint(problem: Problem, residuals: Any, cotangents: Any) -> Trained:
    """The adjoint over the accepted steps, both halves of each.

    **Arguments:** `residuals`: states at `ts`, ends of the accepted steps, which of `ts` each ends
    at (0 for none), how many there are, and whether the solve was finished.
    """
    (zs, times, hits, accepted, done), (ct_zs, ct_cost, _) = residuals, cotangents
    kind, problem = problem.system.kind, in_stratonovich(problem)
    fields, evaluate = trained_fields(problem)
    step = _step_back(problem, evaluate, fields, ct_cost)

    def body(b: _Back) -> _Back:
        (z, a, *gradients), i = b.state, b.step - 1
        k = hits[i]
        z = jnp.where(k > 0, zs[k], z)
        a = a + jnp.where(k > 0, ct_zs[k], 0)
        interval = jnp.where(k > 0, k - 1, b.interval)
        return _Back(i, interval, step((z, a, *gradients), interval, times[i], times[i + 1]))

    trained = eqx.filter(problem.context, eqx.is_inexact_array)
    state = (zs[-1], jnp.zeros_like(zs[-1]), zeros_like(fields), zeros_like(trained))
    last = jnp.int32(problem.grid.n - 1)
    end = jax.lax.while_loop(lambda b: b.step > 0, body, _Back(accepted, last, state))
    _, a, (of_system, of_args), of_context = end.state
    found = in_calculus(of_system, kind), of_args, of_context, a + ct_zs[0]
    return jax.tree.map(lambda x: jnp.where(done, x, jnp.nan), found)


def _step_back(
    problem: Problem, evaluate: Callable, fields: PyTree, ct_cost: Array | None
) -> Callable:
    """Both halves of an accepted step, backwards."""

    def step(state: Any, interval: Array, t0: Array, t1: Array) -> Any:
        *others, of_all = state
        context = jax.tree.map(lambda leaf: leaf[interval], problem.context)
        stage, trained = adjoint_stage(problem, evaluate, fields, context, ct_cost)
        middle = 0.5 * (t0 + t1)
        first, second = halves_of(problem, t0, middle, t1)
        inner = adjoint_step(stage, (*others, zeros_like(trained)), middle, t1, second.w)
        *others, here = adjoint_step(stage, inner, t0, middle, first.w)
        of_all = jax.tree.map(lambda total, new: total.at[interval].add(new), of_all, here)
        return (*others, of_all)

    return step
