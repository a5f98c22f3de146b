"""The diagonal of a field's Jacobian: asked of the field where it knows it, else by JVPs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from tenfold.base._checks import check_like
from tenfold.base.typing import RealLike, VectorField

METHOD = "value_and_jacobian_diagonal"


def checked(field: VectorField, t: RealLike, args: Any) -> Callable[[PyTree], PyTree]:
    """`x -> field(t, x, args)` that refuses an output not shaped as x."""

    def call(x: PyTree) -> PyTree:
        y = field(t, x, args)
        check_like("The output of `field(t, x, args)`", y, "x", x)
        return y

    return call


def _from_method(method: Callable, t: RealLike, x: PyTree, args: Any) -> tuple[PyTree, PyTree]:
    value, diagonal = method(t, x, args)
    check_like(f"The value that `field.{METHOD}(t, x, args)` returns", value, "x", x)
    check_like(f"The diagonal that `field.{METHOD}(t, x, args)` returns", diagonal, "x", x)
    return value, diagonal


def _by_jvps(field: VectorField, t: RealLike, x: PyTree, args: Any) -> tuple[PyTree, PyTree]:
    f = checked(field, t, args)
    leaves, treedef = jax.tree.flatten(x)
    value, diagonals = x, []
    for i, leaf in enumerate(leaves):
        # The other leaves are constants here, so their tangents cost nothing.
        def block(leaf: Array, i: int = i) -> tuple[Array, PyTree]:
            y = f(treedef.unflatten([*leaves[:i], leaf, *leaves[i + 1 :]]))
            return jax.tree.leaves(y)[i], y

        value, diagonal = _block_diagonal(block, leaf)
        diagonals.append(diagonal)
    return value, treedef.unflatten(diagonals)


def _block_diagonal(block: Callable, x: Float[Array, "..."]) -> tuple[PyTree, Array]:
    def along(e: Array) -> tuple[PyTree, Array]:
        _, column, value = jax.jvp(block, (x,), (e,), has_aux=True)
        return value, column

    basis = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    value, columns = jax.vmap(along, out_axes=(None, 0))(basis)
    return value, jnp.diagonal(columns.reshape(x.size, x.size)).reshape(x.shape)


class Diagonal(eqx.Module):
    """(field(x), diagonal of its Jacobian), through the field's own method where it has one."""

    def __call__(
        self, field: VectorField, t: RealLike, x: PyTree, args: Any
    ) -> tuple[PyTree, PyTree]:
        method = getattr(field, METHOD, None)
        if method is None:
            return _by_jvps(field, t, x, args)
        return _from_method(method, t, x, args)
