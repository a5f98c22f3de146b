"""Distributions of the truncation: K on {1, 2, ...} by its survival P(j) = Pr(K >= j)."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold.base.typing import Key


class AbstractTail(eqx.Module):
    """K on {1, 2, ...}. P(1) = 1, and P(j) > 0 for every j, or the estimate is biased.

    A tail of one's own: `survival` and `largest`, both for NumPy and for JAX arrays, and `mean`.
    """

    @abc.abstractmethod
    def survival(self, j: Any) -> Any:
        """P(j) = Pr(K >= j), of the shape of `j` >= 1: NumPy's in float64, or JAX's."""

    @abc.abstractmethod
    def largest(self, u: Any) -> Any:
        """max{ j : P(j) >= u } for u in (0, 1]; a whole number, as floats of the shape of `u`."""

    @abc.abstractmethod
    def mean(self) -> float:
        """E[K]: rows a datum beyond the first m."""

    def draw(self, u: np.ndarray) -> np.ndarray:
        """K from uniform `u` in (0, 1], float64; int64 of its shape. *Host.*"""
        return self.largest(np.asarray(u, np.float64)).astype(np.int64)

    def sample(self, key: Key, shape: tuple[int, ...] = ()) -> Array:
        """K on the device, int32. 64 random bits a draw, so that a large K is as likely as it
        should be; a K beyond 2^31 becomes 2^31 - 1."""
        high, low = jax.random.bits(key, (2, *shape), jnp.uint32).astype(jnp.float32)
        u = high * 2.0**-32 + (low + 1) * 2.0**-64
        return jnp.clip(self.largest(u), 1, 2.0**31 - 256).astype(jnp.int32)


class PaperTail(AbstractTail):
    """P(j) = 1/j up to `cut`, then P(cut) ratio^(j - cut).

    arXiv 2004.00353, section 4.1. The cut keeps E[K] finite, and makes the variance of SUMO
    infinite; `PowerTail` does neither with kind `loo`.
    """

    cut: int = eqx.field(static=True, default=80)
    ratio: float = eqx.field(static=True, default=0.9)

    def __check_init__(self) -> None:
        if self.cut < 1 or not 0 < self.ratio < 1:
            raise ValueError(
                f"PaperTail: cut >= 1 and 0 < ratio < 1 are needed, got {self.cut}, {self.ratio}"
            )

    def survival(self, j: Any) -> Any:
        np_, j = _numbers(j)
        late = np_.maximum(j - self.cut, 0)
        return np_.where(j < self.cut, 1 / j, self.ratio**late / self.cut)

    def largest(self, u: Any) -> Any:
        np_, u = _numbers(u)
        late = self.cut + np_.floor(np_.log(self.cut * u) / math.log(self.ratio))
        return _settled(self, u, np_.where(u * self.cut > 1, np_.floor(1 / u), late), np_)

    def mean(self) -> float:
        harmonic = math.fsum(1 / j for j in range(1, self.cut))
        return harmonic + 1 / (self.cut * (1 - self.ratio))


class PowerTail(AbstractTail):
    """P(j) = j^-s. With kind `loo` the variance is finite for 1 < s < 2; 1.5 is a safe choice.

    E[K] = zeta(s).
    """

    s: float = eqx.field(static=True, default=1.5)

    def __check_init__(self) -> None:
        if not self.s > 1:
            raise ValueError(f"PowerTail: E[K] is finite for s > 1 only, got {self.s}")

    def survival(self, j: Any) -> Any:
        return _numbers(j)[1] ** -self.s

    def largest(self, u: Any) -> Any:
        np_, u = _numbers(u)
        return _settled(self, u, np_.floor(u ** (-1 / self.s)), np_)

    def mean(self) -> float:
        from scipy.special import zeta

        return float(zeta(self.s))


class GeometricTail(AbstractTail):
    """P(j) = ratio^(j - 1). For kind `antithetic`, whose K-th level has m 2^K rows: there the
    ratio must be below 1/2 for a finite cost and above 1/4 for a finite variance; 2^-1.5 is
    between."""

    ratio: float = eqx.field(static=True, default=2**-1.5)

    def __check_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError(f"GeometricTail: 0 < ratio < 1 is needed, got {self.ratio}")

    def survival(self, j: Any) -> Any:
        return self.ratio ** (_numbers(j)[1] - 1)

    def largest(self, u: Any) -> Any:
        np_, u = _numbers(u)
        return _settled(self, u, 1 + np_.floor(np_.log(u) / math.log(self.ratio)), np_)

    def mean(self) -> float:
        return 1 / (1 - self.ratio)


class OptimalTail(AbstractTail):
    """The tail of least variance x cost for the differences D_j that were seen.

    P(j) = sqrt(beta_j / beta_1) with beta_j = E[D_j^2 + 2 D_j sum_{i>j} D_i], made decreasing, and
    beyond the table P(n) (j / n)^-s. `OnlineTail` fits one while training.
    """

    table: tuple[float, ...] = eqx.field(static=True)
    """P(1), ..., P(n)."""
    s: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        p = np.asarray(self.table)
        if p.ndim != 1 or p.size == 0 or p[0] != 1 or (p <= 0).any() or (np.diff(p) > 0).any():
            raise ValueError("OptimalTail: `table` must begin with 1, not increase, and stay > 0")
        if not self.s > 1:
            raise ValueError(f"OptimalTail: E[K] is finite for s > 1 only, got {self.s}")

    @classmethod
    def from_beta(cls, beta: np.ndarray) -> "OptimalTail":
        """From beta_1, ..., beta_n. *Host.* The estimates are noisy, and may be negative far out:
        the power law through the later half (s within 1.1 and 1.9, where `loo` has a variance)
        bounds them from below."""
        beta = np.asarray(beta, np.float64)
        if beta.ndim != 1 or beta.size < 2 or not np.isfinite(beta).all() or beta[0] <= 0:
            raise ValueError("OptimalTail: `beta` must be two or more finite numbers, beta_1 > 0")
        root, j = np.sqrt(np.maximum(beta / beta[0], 0)), np.arange(1, beta.size + 1)
        known = root > 0
        slope = -np.polyfit(np.log(j[known]), np.log(root[known]), 1)[0] if known.sum() > 1 else 1.5
        s = float(np.clip(slope, 1.1, 1.9))
        p = np.minimum.accumulate(np.minimum(np.maximum(root, 0.5 * j**-s), 1.0))
        return cls(tuple(p.tolist()), s)

    @classmethod
    def from_pilot(cls, differences: np.ndarray) -> "OptimalTail":
        """From a pilot's `differences`, (runs, n). *Host.*"""
        online = OnlineTail()
        online.update(differences)
        return online.tail()

    def survival(self, j: Any) -> Any:
        np_, j = _numbers(j)
        table = np_.asarray(self.table, j.dtype)
        n = len(self.table)
        inside = table[(np_.minimum(j, n) - 1).astype("int32")]
        return inside * (np_.maximum(j, n) / n) ** -self.s

    def largest(self, u: Any) -> Any:
        np_, u = _numbers(u)
        table, n = np_.asarray(self.table, u.dtype), len(self.table)
        inside = np_.searchsorted(-table, -u, side="right").astype(u.dtype)
        beyond = np_.floor(n * (u / self.table[-1]) ** (-1 / self.s))
        return _settled(self, u, np_.where(u > self.table[-1], inside, beyond), np_)

    def mean(self) -> float:
        from scipy.special import zeta

        n = len(self.table)
        later = self.table[-1] * n**self.s * float(zeta(self.s, n + 1))
        return math.fsum(self.table) + later


class OnlineTail:
    """Running beta_j of the differences seen while training. *Host.*

    A step's tail must come from the steps before it: an estimate whose K depends on its own
    samples is biased.
    """

    def __init__(self) -> None:
        self.runs = 0
        self.sums = np.zeros(0)

    def update(self, differences: Any) -> None:
        """`differences` (runs, n), finite; n may be larger than before, not smaller."""
        d = np.asarray(differences, np.float64)
        if d.ndim != 2 or not np.isfinite(d).all() or d.shape[1] < self.sums.size:
            raise ValueError(
                f"OnlineTail: `differences` must be finite, (runs, n) with n >= {self.sums.size}, "
                f"got {d.shape}"
            )
        if self.sums.size not in (0, d.shape[1]):
            raise ValueError(f"OnlineTail: n was {self.sums.size} before, now {d.shape[1]}")
        later = np.cumsum(d[:, ::-1], axis=1)[:, ::-1] - d
        sums = (d**2 + 2 * d * later).sum(0)
        self.sums = sums if self.runs == 0 else self.sums + sums
        self.runs += len(d)

    def tail(self) -> OptimalTail:
        if self.runs == 0:
            raise ValueError("OnlineTail: no differences were seen yet")
        return OptimalTail.from_beta(self.sums / self.runs)


def _numbers(x: Any) -> tuple[Any, Any]:
    """numpy and x in float64, or jax.numpy and x as JAX's float."""
    if isinstance(x, Array):
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        return jnp, x if floating else x.astype(jnp.zeros(()).dtype)
    return np, np.asarray(x, np.float64)


def _settled(tail: AbstractTail, u: Any, k: Any, np_: Any) -> Any:
    """k as `survival` has it: logarithms and roots may land one beside."""
    k = np_.maximum(k, 1)
    k = np_.where(tail.survival(k + 1) >= u, k + 1, k)
    return np_.where((tail.survival(k) < u) & (k > 1), k - 1, k)
