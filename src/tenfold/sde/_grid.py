"""The steps of a solve: the times to save at, each interval cut into equal substeps."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float


class Grid(eqx.Module):
    """Step i goes from times[i] to times[i + 1]; every `substeps`-th end is saved."""

    times: Float[Array, " n_plus_1"]
    substeps: int = eqx.field(static=True)

    @property
    def n(self) -> int:
        """Steps."""
        return self.times.shape[0] - 1

    @property
    def intervals(self) -> int:
        return self.n // self.substeps


def concrete(x: Any) -> np.ndarray | None:
    """The values of x, or None while tracing."""
    return None if isinstance(x, Tracer) else np.asarray(x)


def refined(ts: Any, substeps: int, dtype: Any) -> Grid:
    """`substeps` equal steps in each interval of `ts`.

    Times that don't increase are refused; times that are being traced can't be looked at, and
    become nan when they don't increase, so that nothing wrong passes for a result.

    **Raises:** `ValueError` naming `ts` or `substeps`.
    """
    ts = jnp.asarray(ts, dtype)
    if ts.ndim != 1 or ts.shape[0] < 2:
        raise ValueError(f"sde: `ts` must be a vector of at least two times, got {ts.shape}")
    if substeps < 1:
        raise ValueError(f"sde: `substeps` must be at least 1, got {substeps}")
    known, increasing = concrete(ts), jnp.all(jnp.diff(ts) > 0)
    if known is not None and not (np.isfinite(known).all() and np.all(np.diff(known) > 0)):
        first = int(np.argmin(np.diff(known) > 0))
        raise ValueError(
            f"sde: `ts` must increase; ts[{first}] = {known[first]}, ts[{first + 1}] = "
            f"{known[first + 1]}"
        )
    ts = jnp.where(increasing, ts, jnp.nan)
    shares = jnp.arange(substeps, dtype=dtype) / substeps
    inner = ts[:-1, None] + jnp.diff(ts)[:, None] * shares[None, :]
    return Grid(jnp.concatenate([inner.ravel(), ts[-1:]]), substeps)


def matches(a: Array, b: Array) -> bool:
    """Whether two grids are one, as far as can be seen while tracing: same length, same times."""
    if a.shape != b.shape:
        return False
    x, y = concrete(a), concrete(b)
    if x is None or y is None:
        return True
    return bool(np.all(np.abs(x - y) <= closeness(y, np)))


def closeness(times: Any, np_: Any) -> Any:
    """How far apart two times may be and be one: a thousandth of the least step, and what rounding
    does to times that are computed in two ways, far from 0 say."""
    rounding = 4 * float(np.finfo(times.dtype).eps) * np_.max(np_.abs(times))
    return 1e-3 * np_.min(np_.diff(times)) + rounding
