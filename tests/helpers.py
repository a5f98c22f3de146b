"""What tests share: named tolerances, finite differences, operation counts, a bound on z."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""Relative and absolute: two routes to one number, a few hundred operations long."""

FD_TOLERANCE = 1e-7
"""Central differences in float64 against a derivative, where both are of order one."""

Z_BOUND = 4.0
"""By chance 6 keys in 100,000 fail; the key of a test is fixed, so it never flickers."""


def assert_close(actual: Any, expected: Any, tolerance: float | None = None) -> None:
    """Same structure and, leaf by leaf, |actual - expected| <= tolerance (1 + |expected|).

    The default tolerance is that of the actual leaf's dtype. Non-finite values must agree.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        bound = TOLERANCE[str(np.asarray(a).dtype)] if tolerance is None else tolerance
        assert np.shape(a) == np.shape(b), f"shape {np.shape(a)}, expected {np.shape(b)}"
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


def finite_difference(f: Callable, x: Any, v: Any, step: float = 1e-5) -> Any:
    """Directional derivative of `f` at x along v by a fourth-order central difference (float64)."""

    def at(h: float) -> Any:
        return f(jax.tree.map(lambda a, b: a + h * b, x, v))

    def combine(a: Any, b: Any, c: Any, d: Any) -> Any:
        return (8 * (a - b) - (c - d)) / (12 * step)

    return jax.tree.map(combine, at(step), at(-step), at(2 * step), at(-2 * step))


def fd_jacobian(f: Callable, x: jax.Array, step: float = 1e-5) -> np.ndarray:
    """Jacobian of a vector function of a vector by finite differences, entry (i, j) = df_i/dx_j."""
    columns = [finite_difference(f, x, e, step) for e in jnp.eye(x.size, dtype=x.dtype)]
    return np.stack([np.asarray(c) for c in columns], axis=1)


def count_primitives(f: Callable, *args: Any) -> Counter:
    """How often each primitive stands in the jaxpr of `f(*args)`, inner jaxprs included.

    A loop's body counts once, however often it runs.
    """
    closed = eqx.filter_make_jaxpr(lambda *args: f(*args))(*args)[0]
    count: Counter = Counter()
    _count(closed.jaxpr, count)
    return count


def _count(jaxpr: Any, count: Counter) -> None:
    for equation in jaxpr.eqns:
        count[equation.primitive.name] += 1
        leaves = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr)
        for inner in filter(_is_jaxpr, leaves):
            _count(getattr(inner, "jaxpr", inner), count)


def _is_jaxpr(x: Any) -> bool:
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


def z_score(samples: Any, expected: float) -> float:
    """(mean - expected) / standard error of the mean, for independent samples."""
    samples = np.asarray(samples, np.float64).ravel()
    return float((samples.mean() - expected) / (samples.std(ddof=1) / np.sqrt(samples.size)))


def assert_unbiased(samples: Any, expected: float) -> None:
    """The mean of independent samples lies within `Z_BOUND` standard errors of `expected`."""
    z = z_score(samples, expected)
    assert abs(z) < Z_BOUND, f"z = {z:.2f} over {np.size(samples)} samples"
