"""The slopes dh_i/dx_i, measured: what a proof of hollowness is held against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

_MOST = 64
_AT_ONCE = 16


class Slopes(NamedTuple):
    """What `own_slopes` found."""

    own: np.ndarray
    """(d,): the largest |dh_i/dx_i|; 0 where none was taken."""
    any: float
    """The largest slope that was seen, of other h_j too."""

    def certain(self, dtype: Any) -> np.ndarray:
        """Those beyond rounding: convolutions by Fourier transforms, as on GPUs, have some."""
        return self.own > np.sqrt(float(jnp.finfo(dtype).eps)) * self.any


def own_slopes(
    call: Callable, leaves: Any, t: Any, x: Array, rows: np.ndarray | None
) -> Slopes | None:
    """Of h = call(leaves, t, x), at one point.

    Of 64 `rows` (by default of all), evenly spread, if there are more: 16 at a time, forward, or
    in reverse where the program has no forward derivative; `None` if it has neither.
    """
    rows = np.arange(x.size) if rows is None else rows
    spread = np.linspace(0, rows.size - 1, min(rows.size, _MOST)).round().astype(int)
    rows, found = rows[spread], np.zeros(x.size)
    if not rows.size:
        return Slopes(found, 0.0)
    for slope in (_forward, _reverse):
        try:
            own, others = _slopes(slope, call, leaves, t, x, rows)
        except Exception:  # a rule that is missing, of whatever primitive; each raises its own
            continue
        found[rows] = own
        return Slopes(found, float(others.max()))
    return None


def _slopes(
    slope: Callable, call: Callable, leaves: Any, t: Any, x: Array, rows: np.ndarray
) -> np.ndarray:
    block = min(rows.size, _AT_ONCE)
    blocks = np.pad(rows, (0, -rows.size % block), mode="edge").reshape(-1, block)

    @jax.jit
    def run(leaves: Any, t: Any, x: Array, blocks: Array) -> Array:
        def largest(i: Array) -> Array:
            h = lambda flat: call(leaves, t, flat.reshape(x.shape))  # noqa: E731
            own, others = slope(h, x.reshape(-1), i)
            return jnp.stack([jnp.max(jnp.abs(a), initial=0.0) for a in (own, others)])

        return jax.lax.map(jax.vmap(largest), blocks)

    slopes = run(leaves, t, x, jnp.asarray(blocks, jnp.int32))
    return np.asarray(slopes, float).reshape(-1, 2)[: rows.size].T


def _forward(h: Callable, x: Array, i: Array) -> tuple[Array, Array]:
    values, slopes = jax.jvp(h, (x,), (jax.nn.one_hot(i, x.size, dtype=x.dtype),))
    if slopes.dtype == jax.dtypes.float0:  # integers
        slopes = jnp.zeros(values.shape, x.dtype)
    return slopes[i], slopes


def _reverse(h: Callable, x: Array, i: Array) -> tuple[Array, Array]:
    slopes = jax.jacrev(lambda x: h(x)[i])(x)
    return slopes[:, i], slopes
