"""The implicit equation of one step of a multistep method, z = delta + gamma f(t, z)."""

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
    slope = field(t, z)
    return jax.tree.map(lambda z, d, s: z - d - gamma.astype(z.dtype) * s, z, delta, slope)


def _residual_and_diagonal(z: PyTree, given: Any) -> tuple[PyTree, PyTree]:
    field, t, delta, gamma = given
    slope, diagonal = field.with_diagonal(t, z)
    value = jax.tree.map(lambda z, d, s: z - d - gamma.astype(z.dtype) * s, z, delta, slope)
    return value, jax.tree.map(lambda d: 1 - gamma.astype(d.dtype) * d, diagonal)


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
    given = (field, t, delta, gamma)
    # What a vector field closes over must be seen, or it could not be differentiated.
    both = eqx.filter_closure_convert(_residual_and_diagonal, guess, given)
    solution = optx.root_find(
        _residual,
        corrector,
        guess,
        given,
        options={"value_and_diagonal": both},
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
