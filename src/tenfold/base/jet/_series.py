"""Truncated power series of arrays, as lists of coefficients with structural zeros."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax import Array

Coefficient: TypeAlias = Array | None
"""u_k of u(s) = sum_k u_k s^k. `None` is a zero known at trace time: nothing is computed for it."""

Series: TypeAlias = Sequence[Coefficient]
"""[u_0, ..., u_k]."""


def dense(a: Coefficient, like: Any) -> Array:
    return jnp.zeros_like(like) if a is None else a


def add(a: Coefficient, b: Coefficient) -> Coefficient:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def subtract(a: Coefficient, b: Coefficient) -> Coefficient:
    if b is None:
        return a
    return -b if a is None else a - b


def scale(factor: int | float, a: Coefficient) -> Coefficient:
    return a if a is None or factor == 1 else factor * a


def convolve(
    u: Series, w: Series, k: int, *, multiply: Callable[..., Any] = jnp.multiply
) -> Coefficient:
    """sum_{j=0}^{k} u_j w_{k-j}: coefficient k of the product, for any bilinear `multiply`."""
    total = None
    for j in range(k + 1):
        a, b = u[j], w[k - j]
        if a is not None and b is not None:
            total = add(total, multiply(a, b))
    return total


def square(u: Series, k: int) -> Coefficient:
    """Coefficient k of u^2, each cross product computed once."""
    total = None
    for j in range((k + 1) // 2):
        a, b = u[j], u[k - j]
        if a is not None and b is not None:
            total = add(total, a * b)
    total = scale(2, total)
    middle = u[k // 2]
    return total if k % 2 or middle is None else add(total, middle * middle)


def integrate(u: Series, w: Series, k: int) -> Coefficient:
    """Coefficient k of the integral of u'(s) w(s) ds: (1/k) sum_{j=1}^{k} j u_j w_{k-j}.

    (Keeping j u_j from order to order saves multiplications, but XLA's fusions run slower with it.)
    """
    total = None
    for j in range(1, k + 1):
        a, b = u[j], w[k - j]
        if a is not None and b is not None:
            total = add(total, scale(j / k, a * b))
    return total
