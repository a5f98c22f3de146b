"""Derivatives of ODE solutions, of any order, in Taylor mode."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.base.jet import Tower
from tenfold.base.typing import VectorField

Coefficients = Callable[..., list[PyTree]]
"""The signature of `taylor_coefficients`, and of the rival schemes in `taylor.baselines`."""


def checked_state(t: Any, z: PyTree, order: int) -> tuple[Array, PyTree]:
    """`t` and `z` as arrays of floating point; `t` takes z's dtype if it is a Python number."""
    if order < 0:
        raise ValueError(f"taylor: `order` must be at least 0, got {order}")
    leaves = jax.tree.leaves(z)
    if not leaves:
        raise ValueError("taylor: the state `z` has no arrays")
    for leaf in leaves:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ValueError(
                f"taylor: every leaf of the state `z` must be floating point, got "
                f"{jnp.result_type(leaf)} of shape {jnp.shape(leaf)}; pass integers through `args`"
            )
    z = jax.tree.map(jnp.asarray, z)
    if isinstance(t, int | float) or not jnp.issubdtype(jnp.result_type(t), jnp.inexact):
        finest = min((jnp.finfo(jnp.result_type(leaf)) for leaf in leaves), key=lambda d: d.eps)
        t = jnp.asarray(t, finest.dtype)
    return jnp.asarray(t), z


def check_field(z: PyTree, slope: PyTree):
    """The field must return something like the state: structure, shapes and dtypes."""

    def describe(tree: PyTree) -> Any:
        return jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)

    if jax.tree.structure(z) != jax.tree.structure(slope) or describe(z) != describe(slope):
        raise ValueError(
            f"taylor: the vector field `f` must return a value like the state `z`, "
            f"{describe(z)}; it returned {describe(slope)}"
        )


def taylor_coefficients(
    f: VectorField, t: Any, z: PyTree, order: int, *, args: PyTree = None
) -> list[PyTree]:
    r"""Taylor coefficients z_0, ..., z_K of the solution of dz/dt = f(t, z, args) through (t, z).

    $$z(t + s) = \sum_k z_k s^k, \qquad (k + 1)\, z_{k+1} = f_k(z_0, ..., z_k)$$

    where f_k is coefficient k of f along the solution. Each order adds one coefficient to every
    intermediate of f: K evaluations' worth of dense work for K orders (and their gradient 3K),
    elementwise work O(K^2).

    **Arguments:**

    - `f`: a vector field in Diffrax's form. Any JAX code: softplus, relu, jit, scan, ...
    - `t`: a float, or an array that broadcasts inside `f` (a time for each example, say).
    - `z`: a pytree of floating-point arrays of any shape, batched or not.
    - `order`: K >= 0, static.

    **Returns:** K + 1 pytrees like `z`, in its dtypes.

    **Raises:** `ValueError` for a negative order, a state that is not floating point, or a field
    whose value isn't like the state.

    Source: the recursion of arXiv 2007.04504; the online scheme is `tenfold.base.jet`'s.
    """
    t, z = checked_state(t, z, order)
    coefficients, structure = [jax.tree.leaves(z)], jax.tree.structure(z)
    if order == 0:
        return [z]

    def field(time: Array, state: PyTree) -> PyTree:
        return f(time, state, args)

    tower = Tower(field, t, z)
    check_field(z, tower.out_shape)
    times = [t, jnp.ones_like(t)] + [None] * order
    for k in range(order):
        slopes = tower.push_leaves([times[k], *coefficients[k]])
        divided = [None if v is None else v if k == 0 else v / (k + 1) for v in slopes]
        coefficients.append(divided)
    zeros = [jnp.zeros_like(leaf) for leaf in coefficients[0]]
    dense = [[o if c is None else c for c, o in zip(row, zeros)] for row in coefficients]
    return [jax.tree.unflatten(structure, row) for row in dense]


def total_derivatives(
    f: VectorField,
    t: Any,
    z: PyTree,
    order: int,
    *,
    args: PyTree = None,
    coefficients: Coefficients = taylor_coefficients,
) -> list[PyTree]:
    r"""Total derivatives d^k z / dt^k, k = 0..K, of the solution of dz/dt = f through (t, z).

    $$\frac{d^k z}{dt^k} = k!\, z_k, \quad \text{so} \quad z^{(1)} = f, \quad
    z^{(2)} = \frac{\partial f}{\partial t} + \frac{\partial f}{\partial z} f, \quad ...$$

    Arguments, returns, errors and cost are those of `taylor_coefficients`; `coefficients` names
    another scheme of `taylor.baselines`.
    """
    towers = coefficients(f, t, z, order, args=args)
    factorials = [float(math.factorial(k)) for k in range(order + 1)]  # 13! is no int32
    return [
        jax.tree.map(lambda leaf, n=n: leaf if n == 1 else n * leaf, tower)
        for n, tower in zip(factorials, towers)
    ]


def total_derivative_norm(
    f: VectorField,
    t: Any,
    z: PyTree,
    order: int,
    *,
    args: PyTree = None,
    batch_axes: tuple[int, ...] = (0,),
    coefficients: Coefficients = taylor_coefficients,
) -> Array:
    r"""Mean square of the K-th total derivative, one value an example.

    $$\frac{1}{D} \left\| \frac{d^K z}{dt^K} \right\|^2$$

    with D the number of entries of one example's state, over all leaves: the integrand of R_K
    (arXiv 2007.04504, as the authors' code normalises it). K = 1 is RNODE's kinetic
    energy.

    **Arguments:** as `taylor_coefficients`; `batch_axes` are the axes of every leaf that number
    examples: `(0,)` for states (B, ...), `()` for a single state.

    **Returns:** an array of the batch axes' shape.
    """
    derivative = total_derivatives(f, t, z, order, args=args, coefficients=coefficients)[order]
    return mean_square(derivative, batch_axes)


def mean_square(tree: PyTree, batch_axes: tuple[int, ...]) -> Array:
    """Mean of the squared entries of each example, over all leaves and non-batch axes."""
    leaves = jax.tree.leaves(tree)
    for leaf in leaves:
        if any(not -leaf.ndim <= axis < leaf.ndim for axis in batch_axes):
            raise ValueError(
                f"taylor: `batch_axes` {batch_axes} do not exist in a leaf of shape {leaf.shape}; "
                "a single state has batch_axes=()"
            )
    total, count = jnp.zeros(()), 0
    for i, leaf in enumerate(leaves):
        batch = {axis % leaf.ndim for axis in batch_axes}
        rest = tuple(axis for axis in range(leaf.ndim) if axis not in batch)
        squares = jnp.sum(jnp.abs(leaf) ** 2, axis=rest)
        total = total + squares if i else squares
        count += math.prod(leaf.shape[axis] for axis in rest)
    return total / count
