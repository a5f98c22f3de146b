"""The words of tenfold's signatures, as jaxtyping aliases written once."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Real, Shaped
from jaxtyping import Key as _Key

if TYPE_CHECKING:
    RealScalarLike = int | float | Array | np.ndarray
    RealLike = int | float | Array | np.ndarray
else:
    RealScalarLike = Real[ArrayLike, ""]
    """A number: Python's, NumPy's, or a JAX array of shape ()."""
    RealLike = Real[ArrayLike, "..."]
    """A number, or an array of numbers, one an example."""

Key = _Key[Array, ""]
"""A typed PRNG key, as `jax.random.key` makes (not the old `uint32[2]`)."""

Scalar = Float[Array, ""]
"""A real array of shape ()."""

State = PyTree[Shaped[ArrayLike, "..."]]
"""What an ODE moves or a density judges: one example, a float array or a pytree of them."""

VectorField = Callable[[Any, Any, Any], Any]
"""`(t, y, args) -> dy/dt`, Diffrax's convention; the output has y's structure and shapes."""

LogDensity = Callable[[Any], Any]
"""`x -> log p(x)` of one example, shape (); it need not be normalised."""

Score = Callable[[Any], Any]
"""`x -> gradient of log p at x`, of x's structure and shapes."""

Loss = Callable[[Any, Any, Any], Any]
"""`(params, hyper, batch) -> loss`, shape ()."""
