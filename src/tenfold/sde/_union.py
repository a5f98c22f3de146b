"""Series with times of their own, put on one grid of times with a mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def union_grid(
    series: Sequence[tuple[Any, Any]], *, resolution: int | float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """*Host.* What `elbo` takes: all times of all series, the values there, and where they are.

    **Arguments:**

    - `series`: pairs (arrays or lists) of times (n,) and values (n, D), of any lengths; nan where
      a channel wasn't seen.
    - `resolution`: times are rounded to multiples of it. A solve takes at least one step between
      two times, so the grid's length is what a solve costs: round as coarsely as the data allow.

    **Returns:** `xs` (batch, T, D) with 0 where nothing was seen, `ts` (T,), `mask` (batch, T, D).

    **Raises:** `ValueError` for shapes that don't fit, times that aren't finite, and two values of
    one channel at one time.
    """
    pairs = [(np.asarray(t, np.float64), np.asarray(x)) for t, x in series]
    for i, (t, x) in enumerate(pairs):
        if t.ndim != 1 or x.ndim != 2 or len(x) != len(t) or x.shape[1] != pairs[0][1].shape[1]:
            raise ValueError(
                f"union_grid: series {i} has times {t.shape} and values {x.shape}; expected (n,) "
                f"and (n, {pairs[0][1].shape[-1]})"
            )
        if not np.isfinite(t).all():
            raise ValueError(f"union_grid: series {i} has times that are not finite")
    if not pairs:
        raise ValueError("union_grid: there are no series")
    if resolution is not None:
        pairs = [(np.round(t / resolution) * resolution, x) for t, x in pairs]
    ts = np.unique(np.concatenate([t for t, _ in pairs]))
    shape = (len(pairs), len(ts), pairs[0][1].shape[1])
    xs, count = np.zeros(shape, pairs[0][1].dtype), np.zeros(shape, int)
    for i, (t, x) in enumerate(pairs):
        seen, where = np.isfinite(x), np.searchsorted(ts, t)
        np.add.at(count[i], where, seen)
        np.add.at(xs[i], where, np.where(seen, x, 0))
    if count.max(initial=0) > 1:
        i, j, d = (int(k) for k in np.argwhere(count > 1)[0])
        raise ValueError(
            f"union_grid: series {i} has {count[i, j, d]} values of channel {d} at time {ts[j]:g}"
            + ("" if resolution is None else f", rounded to multiples of {resolution:g}")
        )
    return xs, ts, count > 0
