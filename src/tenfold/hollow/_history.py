"""What a multistep method remembers, and polynomials through it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_POINTS, _WEIGHTS = 0.5 * _POINTS + 0.5, 0.5 * _WEIGHTS


class History(eqx.Module):
    """The newest first: `times[j]`, `rows[j]` for j < count; older places hold nothing yet."""

    times: Array
    rows: PyTree
    count: Int[Array, ""]
    evaluations: Int[Array, ""]
    """Of the field, in the accepted steps; `tenfold.base.count_nfe` reads it."""

    def pushed(self, t: Any, row: PyTree, evaluations: Any) -> "History":
        def push(rows: Array, new: Array) -> Array:
            return jnp.concatenate([new[None], rows[:-1]])

        size = self.times.shape[0]
        return History(
            push(self.times, jnp.asarray(t, self.times.dtype)),
            jax.tree.map(push, self.rows, row),
            jnp.minimum(self.count + 1, size),
            self.evaluations + evaluations,
        )


def began(t: Any, row: PyTree, size: int) -> History:
    """With one row, and room for `size`."""

    def room(new: Array) -> Array:
        return jnp.concatenate([new[None], jnp.zeros((size - 1, *new.shape), new.dtype)])

    one = jnp.ones((), jnp.int32)
    return History(room(jnp.asarray(t)), jax.tree.map(room, row), one, one)


def combined(weights: Array, rows: PyTree) -> PyTree:
    """sum_j weights[j] rows[j]."""
    return jax.tree.map(lambda r: jnp.tensordot(weights.astype(r.dtype), r, 1), rows)


def _factors(at: Array, nodes: Array, used: Array) -> Array:
    """(at - node) for the nodes in use, and 1 for the others: (points, nodes)."""
    return jnp.where(used[None], at[:, None] - nodes[None], 1)


def integral_weights(nodes: Array, used: Array) -> Array:
    """w with sum_j w_j p(nodes_j) = integral of p over [0, 1], for p of degree < #used.

    Lagrange's polynomials under Gauss's rule, which is exact here: up to 5 nodes.
    """
    at = jnp.asarray(_POINTS, nodes.dtype)
    others = used[None] & ~jnp.eye(nodes.size, dtype=bool)
    gaps = jnp.where(others, nodes[:, None] - nodes[None], 1)
    over = jnp.where(others[None], at[:, None, None] - nodes[None, None], 1)
    basis = jnp.prod(over / gaps[None], axis=2)
    return jnp.where(used, jnp.asarray(_WEIGHTS, nodes.dtype) @ basis, 0)


def integral_error(nodes: Array, used: Array) -> Array:
    """The integral over [0, 1] of the product of (s - node): the error's constant, up to q!."""
    at = jnp.asarray(_POINTS, nodes.dtype)
    return jnp.asarray(_WEIGHTS, nodes.dtype) @ jnp.prod(_factors(at, nodes, used), axis=1)
