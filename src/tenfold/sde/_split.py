"""What of a problem can be trained, and what can't: the arguments of a custom gradient."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import PyTree

from tenfold.sde._march import Problem

Trained = tuple[PyTree, PyTree, PyTree, Array]
"""Floating-point arrays of: the system, `args`, `context`, z0. Python's numbers are constants:
one that JAX is asked to differentiate comes as an array."""


def _parts(problem: Problem) -> tuple[Any, ...]:
    return problem.system, problem.args, problem.context, problem.z0


def split(problem: Problem) -> tuple[Trained, Problem]:
    """The floating-point arrays of system, args, context and z0, and the problem without them."""
    trained, rest = eqx.partition(_parts(problem), eqx.is_inexact_array)
    return trained, eqx.tree_at(_parts, problem, rest, is_leaf=lambda x: x is None)


def join(trained: Trained, rest: Problem) -> Problem:
    whole = eqx.combine(trained, _parts(rest))
    return eqx.tree_at(_parts, rest, whole, is_leaf=lambda x: x is None)


def solver_with_gradient(forward: Callable, backward: Callable, problem: Problem) -> Any:
    """Runs `forward(problem) -> (saved, residuals)`, with `backward(rest, residuals, cotangents)`
    for a gradient in the trained arrays.

    **Raises:** `ValueError` when times or noise are differentiated, for which there is none.
    """
    refuse_closures(problem)
    trained, rest = split(problem)
    arrays, static = eqx.partition(rest, eqx.is_array)

    @jax.custom_vjp
    def solve(trained: Trained, arrays: PyTree) -> Any:
        return forward(join(trained, eqx.combine(arrays, static)))[0]

    def ahead(trained: PyTree, arrays: PyTree) -> Any:
        _refuse_perturbed(arrays)
        # What is differentiated may be a Python number here, which would not count as trained.
        trained = jax.tree.map(lambda x: jnp.asarray(x.value), trained)
        arrays = jax.tree.map(lambda x: x.value, arrays)
        saved, residuals = forward(join(trained, eqx.combine(arrays, static)))
        return saved, (trained, arrays, residuals)

    def back(kept: Any, cotangents: Any) -> tuple[Trained, None]:
        trained, arrays, residuals = kept
        problem = join(trained, eqx.combine(arrays, static))
        return backward(problem, residuals, jax.tree.map(_whole, cotangents)), None

    solve.defvjp(ahead, back, symbolic_zeros=True)
    return solve(trained, arrays)


def _refuse_perturbed(arrays: PyTree) -> None:
    for leaf in jax.tree.leaves(arrays):
        if leaf.perturbed and eqx.is_inexact_array(leaf.value):
            raise ValueError(
                "sde: this gradient has no derivative with respect to times or to the noise, but "
                f"one is asked for (an array {leaf.value.dtype}{list(leaf.value.shape)}); use "
                "Store() or Checkpoint(), or jax.lax.stop_gradient on `ts`"
            )


def _whole(cotangent: Any) -> Any:
    """A symbolic zero as an array."""
    if not isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return cotangent
    return jnp.zeros(cotangent.shape, cotangent.dtype)  # pyright: ignore


def refuse_closures(problem: Problem) -> None:
    """Refuses fields that close over an array being traced: a custom gradient can't see it.

    **Raises:** `ValueError` naming its shape. It would otherwise get no gradient, silently.
    """
    first = jax.tree.map(lambda leaf: leaf[0], problem.context)
    whole = (problem.system, problem.args_of(first), problem.z0, problem.grid.times[0])
    arrays, static = eqx.partition(whole, eqx.is_array)

    def evaluate(arrays: PyTree) -> Any:
        system, args, z, t = eqx.combine(arrays, static)
        return jax.tree.leaves(system(t, z, args))

    consts = jax.make_jaxpr(evaluate)(arrays).consts
    for const in consts:
        if isinstance(const, Tracer):
            raise ValueError(
                f"sde: drift, diffusion or path cost closes over a traced array, "
                f"{const.dtype}{list(const.shape)}, which would get no gradient; make it a field "
                "of an equinox.Module or pass it in `args`"
            )


def trained_fields(problem: Problem) -> tuple[PyTree, Callable]:
    """The floating-point arrays of (system, args), and `evaluate(those, context, t, z) -> Terms`.

    **Arguments** of the latter: `context` of one interval, with its floating-point arrays only.
    """
    whole = (problem.system, problem.args)
    arrays, static = eqx.partition(whole, eqx.is_inexact_array)

    def evaluate(arrays: PyTree, context: PyTree, t: Any, z: Array) -> Any:
        system, args = eqx.combine(arrays, static)
        return system(t, z, args if problem.context is None else (args, context))

    return arrays, evaluate


def zeros_like(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def added(a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, a, b)
