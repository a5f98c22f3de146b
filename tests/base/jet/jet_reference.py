"""The series of a function along a curve by nested forward mode: slow, and beyond doubt."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from helpers import assert_close
from tenfold.base.jet import jet

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiling is what these tests cost, and XLA's optimisations are not what they test."""


def nested_derivatives(f: Callable, x: Any, coefficients: list) -> list:
    """d^k/ds^k of f(x + sum_j c_j s^j) at s = 0, for k = 0..len(coefficients)."""

    def curve(s):
        def at(start, *rest):
            return start + sum((c * s ** (j + 1) for j, c in enumerate(rest)), 0 * s)

        return [f(jax.tree.map(at, x, *coefficients))]

    derivatives = curve
    for _ in coefficients:
        derivatives = _one_more(derivatives)
    return derivatives(jnp.zeros((), jax.tree.leaves(x)[0].dtype))


def _one_more(derivatives: Callable) -> Callable:
    def longer(s):
        values, slopes = jax.jvp(derivatives, (s,), (jnp.ones_like(s),))
        return [*values, slopes[-1]]

    return longer


def check_against_nested(f: Callable, point: Any, order: int) -> None:
    """`jet` and nested forward mode agree, all orders to `order`, along a curve through `point`."""
    x = jnp.asarray(point)
    keys = jax.random.split(jax.random.key(7), order)
    coefficients = [jax.random.normal(key, x.shape, x.dtype) for key in keys]

    def both(x, coefficients):
        value, series = jet(f, (x,), (coefficients,), scaled=True)
        derivatives = [value] + [math.factorial(k) * c for k, c in enumerate(series, 1)]
        return derivatives, nested_derivatives(f, x, coefficients)

    ours, nested = jax.jit(both, compiler_options=QUICK)(x, coefficients)
    for derivative in nested:
        assert jnp.isfinite(derivative).all(), "the reference itself is not finite here"
    assert_close(ours, nested)
