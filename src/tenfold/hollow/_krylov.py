"""Newton's step without a matrix: GMRES, preconditioned by the diagonal of the Jacobian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jaxtyping import PyTree

_FORCING = 0.01
"""A linear solve that leaves more than this of the residual tells nothing of the distance."""


def newton_step(
    fn: Callable,
    y: PyTree,
    args: Any,
    inverse: PyTree,
    jacobi: PyTree,
    solver: lx.AbstractLinearSolver | None,
) -> tuple[PyTree, Any, Any]:
    """-J^-1 fn(y), how many evaluations that took, and whether the linear equation was solved.

    `inverse` preconditions, and `jacobi` is -inverse fn(y): the step itself if nothing finite came
    of the solve.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(y))
    if solver is None:
        solver = lx.GMRES(1e-4, 1e-4, restart=min(size, 100), max_steps=10)
    # The preconditioned equation, its right side scaled to 1: tolerances are relative then.
    jacobian = lx.linearise(lx.JacobianLinearOperator(lambda y, args: fn(y, args)[0], y, args))
    operator = lx.DiagonalLinearOperator(inverse) @ jacobian
    scale = optx.max_norm(jacobi)
    scale = jnp.where(scale > 0, scale, 1)  # where vmap runs this for nothing
    side = jax.tree.map(lambda j: (j / scale).astype(j.dtype), jacobi)
    found = lx.linear_solve(operator, side, solver, throw=False)
    left = jax.tree.map(jnp.subtract, operator.mv(found.value), side)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(left)]))
    direction = jax.tree.map(lambda v: (scale * v).astype(v.dtype), found.value)
    solved = finite & (optx.max_norm(left) <= _FORCING * optx.max_norm(side))
    return where(finite, direction, jacobi), _products(solver, size, found.stats), solved


def _products(solver: lx.AbstractLinearSolver, size: int, stats: dict[str, Any]) -> Any:
    """Products with the Jacobian, at most; the linearisation and the check of the answer too."""
    steps = stats.get("num_steps")
    if steps is None:  # it makes the matrix
        return jnp.asarray(2 + size, jnp.int32)
    steps = jnp.asarray(steps, jnp.int32)
    if isinstance(solver, lx.GMRES):
        # Its first step only makes a residual, which takes one product at the end of each.
        return 2 + steps + (steps - 1) * min(size, solver.restart)
    return 2 + 2 * steps


def where(pred: Any, a: PyTree, b: PyTree) -> PyTree:
    return jax.tree.map(lambda x, y: jnp.where(pred, x, y), a, b)
