"""Refusals at trace time that name the argument and both shapes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def show(tree: PyTree) -> str:
    """Shapes and dtypes of `tree`, as in `{'a': f32[3]}`."""
    return eqx.tree_pformat(jax.tree.map(_struct, tree), struct_as_array=True)


def _struct(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def as_float_tree(name: str, tree: PyTree) -> PyTree:
    """`tree` with array leaves; a ValueError if one is not a real floating-point array."""
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise ValueError(f"`{name}` must hold at least one array, got {tree!r}.")
    for leaf in leaves:
        if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
            raise ValueError(f"`{name}` must hold float arrays only, got a {type(leaf).__name__}.")
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"`{name}` must hold real floating-point arrays, got {show(tree)}.")
    return jax.tree.map(jnp.asarray, tree)


def check_like(what: str, tree: PyTree, name: str, like: PyTree, *, dtype: bool = False) -> None:
    """A ValueError unless `tree` has the structure and the shapes (`dtype`: also dtypes) of `like`.

    `what` opens the message and says what `tree` is; `name` is the argument that `like` is.
    """
    same = jax.tree.structure(tree) == jax.tree.structure(like)
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=False)
    if same and all(_same(a, b, dtype) for a, b in pairs):
        return
    kind = "structure, shapes and dtypes" if dtype else "structure and shapes"
    raise ValueError(
        f"{what} must have the {kind} of `{name}`, {show(like)}, but has {show(tree)}."
    )


def _same(a: Any, b: Any, dtype: bool) -> bool:
    if jnp.shape(a) != jnp.shape(b):
        return False
    return not dtype or jnp.result_type(a) == jnp.result_type(b)
