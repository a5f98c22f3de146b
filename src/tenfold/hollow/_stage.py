"""The implicit equation of one step of a multistep method, z = delta + gamma f(t, z)."""

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Int, PyTree

from tenfold.base import value_and_jacobian_diagonal


class Stage(eqx.Module):
    """What solving the equation gave."""

    z: PyTree
    slope: PyTree
    """f(t, z), from the equation itself: (z - delta)/gamma. Evaluating f would multiply the error
    of z by the stiffness."""
    evaluations: Int[Array, ""]
    okay: Bool[Array, ""]


class Field(eqx.Module):
    """A term's slope in the solver's own time, which runs backwards in a backward solve."""

    field: Any
    direction: Any
    args: Any

    def __call__(self, t: Any, y: PyTree) -> PyTree:
        slope = self.field(self.direction * t, y, self.args)
        return jax.tree.map(lambda s, y: (self.direction * s).astype(y.dtype), slope, y)

    def with_diagonal(self, t: Any, y: PyTree) -> tuple[PyTree, PyTree]:
        both = value_and_jacobian_diagonal(self.field, self.direction * t, y, self.args)
        return jax.tree.map(lambda a: self.direction * a, both)


def field_of(terms: Any, args: Any, owner: str) -> Field:
    """**Raises:** ValueError if `terms` is no `ODETerm`."""
    direction = getattr(terms, "direction", 1)
    inner = getattr(terms, "term", terms)
    if not isinstance(inner, dfx.ODETerm):
        raise ValueError(f"{owner}: `terms` must be an ODETerm, got {type(inner).__name__}")
    return Field(inner.vector_field, direction, args)


def _residual(z: PyTree, given: Any) -> PyTree:
    field, t, delta, gamma = given
    return _remainder(z, field(t, z), delta, gamma)


def _remainder(z: PyTree, slope: PyTree, delta: PyTree, gamma: Any) -> PyTree:
    return jax.tree.map(lambda z, d, s: z - d - gamma.astype(z.dtype) * s, z, delta, slope)


class _ResidualAndDiagonal(eqx.Module):
    field: Callable

    def __call__(self, z: PyTree, given: Any) -> tuple[PyTree, PyTree]:
        _, t, delta, gamma = given
        slope, diagonal = self.field(t, z)
        own = jax.tree.map(lambda d: 1 - gamma.astype(d.dtype) * d, diagonal)
        return _remainder(z, slope, delta, gamma), own


def solve_stage(
    corrector: optx.AbstractRootFinder,
    field: Field,
    t: Any,
    delta: PyTree,
    gamma: Any,
    guess: PyTree,
    *,
    max_steps: int,
    adjoint: optx.AbstractAdjoint,
) -> Stage:
    # Optimistix compiles the search with all that is no array held fixed. A traced value in the
    # closure of a field would be fixed with it; so what a field closes over is made its leaves.
    slope = eqx.filter_closure_convert(field, t, guess)
    both = eqx.filter_closure_convert(field.with_diagonal, t, guess)
    solution = optx.root_find(
        _residual,
        corrector,
        guess,
        (slope, t, delta, gamma),
        options={"value_and_diagonal": _ResidualAndDiagonal(both)},
        max_steps=max_steps,
        adjoint=adjoint,
        throw=False,
    )
    z = solution.value
    slope = jax.tree.map(lambda z, d: (z - d) / gamma.astype(z.dtype), z, delta)
    used = solution.stats.get("evaluations", solution.stats["num_steps"])
    okay = solution.result == optx.RESULTS.successful
    return Stage(z, slope, jnp.asarray(used, jnp.int32), okay)


def verdict(okay: Any, error: PyTree) -> tuple[PyTree, Any]:
    """The error, infinite where the equation was not solved, and the result.

    A controlled step is then refused and tried anew, shorter; with given steps the solve ends.
    """
    error = jax.tree.map(lambda e: jnp.where(okay, jnp.abs(e), jnp.inf), error)
    results: Any = dfx.RESULTS
    return error, results.where(okay, results.successful, results.nonlinear_divergence)
