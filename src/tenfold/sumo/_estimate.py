r"""SUMO and its relatives on given log-weights (arXiv 2004.00353, equations 5 to 8).

$$SUMO = L_m + \sum_{j=1}^{K} \frac{D_{m+j}}{P(j)}, \qquad P(j) = \Pr(K \geq j), \qquad
  E[SUMO] = \log p(x)$$

Here D_n is what the n-th sample adds (`_differences`).
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float

from tenfold.sumo._differences import log_sums_and_differences, masked_rows
from tenfold.sumo._scans import running_logsumexp
from tenfold.sumo._tails import AbstractTail, GeometricTail, PowerTail

Kind = Literal["loo", "paper", "antithetic"]
"""`loo`: D averaged over which sample came last. `paper`: as published. `antithetic`: a single
level K of m 2^K samples, whose difference is taken between the whole and its two halves."""


def default_tail(kind: Kind) -> AbstractTail:
    return GeometricTail() if kind == "antithetic" else PowerTail()


def check_kind(kind: str, m: int) -> None:
    if kind not in get_args(Kind):
        raise ValueError(f"sumo: `kind` must be one of {get_args(Kind)}, got {kind!r}")
    if m < 1:
        raise ValueError(f"sumo: `m` must be at least 1 sample, got {m}")


def rows_of(k: Any, m: int, kind: Kind) -> Any:
    """Samples that a datum with truncation K needs: m + K, or m 2^K."""
    return m * 2**k if kind == "antithetic" else m + k


def expected_rows(tail: AbstractTail, m: int, kind: Kind) -> float:
    """Mean of `rows_of`; inf for a tail too heavy for its kind."""
    if kind != "antithetic":
        return m + tail.mean()
    levels = np.arange(1, 1024, dtype=np.float64)  # survival(k) 2^k over- nor underflows before
    terms = (tail.survival(levels) - tail.survival(levels + 1)) * 2.0**levels
    return m * float(terms.sum()) if terms[-1] < 1e-12 else float("inf")


def weights_of(pos: Any, k: Any, tail: AbstractTail, m: int, kind: Kind) -> Any:
    """What the terms of each row are multiplied with: 1/P(j), or 1/Pr(K = k)."""
    if kind == "antithetic":
        return 1 / (tail.survival(k) - tail.survival(k + 1))
    np_ = jnp if isinstance(pos, Array) else np
    return 1 / tail.survival(np_.maximum(pos - m + 1, 1))


def row_terms(logw: Array, pos: Array, rows: Array, weight: Array, m: int, kind: Kind):
    """Each row's share of its datum's estimate, and of L_m.

    **Arguments:** log-weights laid end to end; `pos` 0, 1, ... within a datum; `rows` and `weight`
    of its datum and of itself.
    """
    if kind == "antithetic":
        return _antithetic(logw, pos, rows, weight, m)
    log_sum, difference = log_sums_and_differences(logw, pos, kind)
    bound = jnp.where(pos == m - 1, log_sum - jnp.log(jnp.asarray(m, logw.dtype)), 0)
    return jnp.where(pos >= m, weight * difference, bound), bound


def _antithetic(logw: Array, pos: Array, rows: Array, weight: Array, m: int):
    half, size = rows // 2, rows.astype(logw.dtype)
    whole = running_logsumexp(logw, pos == 0) - jnp.log(size)
    halves = running_logsumexp(logw, (pos == 0) | (pos == half)) - jnp.log(size / 2)
    blocks = running_logsumexp(logw, pos % m == 0) - jnp.log(jnp.asarray(m, logw.dtype))
    bound = jnp.where(pos % m == m - 1, blocks * m / size, 0)
    ends = (pos == half - 1) | (pos == rows - 1)
    terms = jnp.where(pos == rows - 1, whole, 0) - jnp.where(ends, 0.5 * halves, 0)
    return bound + weight * terms, bound


def estimate(
    logw: Float[Array, " n"],
    k: Any,
    tail: AbstractTail | None = None,
    m: int = 1,
    kind: Kind = "loo",
) -> Float[Array, ""]:
    r"""An unbiased estimate of log p(x) from the log-weights of one datum.

    **Arguments:**

    - `logw` (n,): log p(x, z_i) - log q(z_i | x), of which the first m + k count (m 2^k with kind
      `antithetic`). The z_i are independent draws of q, and independent of k.
    - `k`: the truncation K, drawn from `tail`: by default `PowerTail(1.5)`, for `antithetic` a
      `GeometricTail`. `m`: samples of the bound that the series begins with.
    - `kind`: see `Kind`.

    **Returns:** the estimate, shape (), finite for log-weights of any size; nan where n is too
    small for k, since a series cut to what fits is biased. Its gradient in `logw` is that of
    the closed form.

    **Raises:** `ValueError` for an unknown kind, m < 1, or a k known to be below 1 or too large.
    """
    check_kind(kind, m)
    tail = default_tail(kind) if tail is None else tail
    k = jnp.asarray(k, jnp.int32)
    if not isinstance(k, Tracer):
        if k < 1:
            raise ValueError(f"estimate: `k` must be at least 1, got {int(k)}")
        if rows_of(int(k), m, kind) > logw.shape[0]:
            raise ValueError(
                f"estimate: k = {int(k)} needs {rows_of(int(k), m, kind)} log-weights, `logw` has "
                f"{logw.shape[0]}"
            )
    rows = rows_of(k, m, kind)
    pos = jnp.arange(logw.shape[0], dtype=jnp.int32)
    valid = pos < rows
    weight = jnp.broadcast_to(weights_of(pos, k, tail, m, kind), pos.shape).astype(logw.dtype)
    logw, pos = masked_rows(valid, logw, pos)
    all_rows = jnp.broadcast_to(rows, pos.shape)
    terms, _ = row_terms(logw, pos, all_rows, weight, m, kind)
    total = jnp.sum(jnp.where(valid, terms, 0))
    return jnp.where((k >= 1) & (rows <= logw.shape[0]), total, jnp.nan)


def coefficients(logw: Array, k: Any, *args: Any, **kwargs: Any) -> tuple[Array, Array]:
    """The estimate, and its gradient in `logw`: the one cotangent that a network must pull back.

    Arguments as of `estimate`. O(K) scalars.
    """
    return jax.value_and_grad(estimate)(logw, k, *args, **kwargs)
