"""What many estimates say together, and whether their spread may be believed. *Host.*"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

TOO_HEAVY = 0.5
"""A mean has a finite variance, hence a standard error, for tail indices below 1/2. (0.7 is
the limit of Pareto-smoothed importance sampling, which is not a plain mean.)"""


def pareto_k(values: Any) -> float:
    """The tail index k of a sample: Pr(X > x) ~ x^(-1/k). Moments of order below 1/k exist.

    A generalised Pareto distribution is fitted to the largest min(n/5, 3 sqrt(n)) values, by the
    quasi-Bayesian estimate of Zhang and Stephens (2009), shrunk to 1/2 as in arXiv 1507.02646.
    nan for fewer than 25 values. *Host.*
    """
    from scipy.special import softmax

    x = np.sort(np.asarray(values, np.float64).ravel())
    n = x.size
    tail = int(min(n // 5, 3 * math.sqrt(n)))
    if tail < 5 or not np.isfinite(x).all():
        return math.nan
    exceed = x[-tail:] - x[-tail - 1]
    exceed = exceed[exceed > 0]
    if exceed.size < 5:
        return -math.inf  # the largest values are all one: no tail
    count = exceed.size
    grid = np.arange(1, 30 + int(math.sqrt(count)) + 1)
    theta = 1 / exceed[-1] + (1 - np.sqrt(grid.size / (grid - 0.5))) / (
        3 * exceed[int(count / 4 + 0.5) - 1]
    )
    # Of each theta = -k / scale, the k that fits, and its profile likelihood.
    k_of = np.mean(np.log1p(-theta[:, None] * exceed[None, :]), axis=1)
    profile = count * (np.log(-theta / k_of) - k_of - 1)
    best = float(np.sum(theta * softmax(profile)))
    k = float(np.mean(np.log1p(-best * exceed)))
    return (count * k + 10 * 0.5) / (count + 10)


@dataclass(frozen=True)
class Summary:
    """A mean, and what is known of its error."""

    n: int
    mean: float
    standard_error: float
    """nan where the tail is too heavy for one (k > 1/2), or can't be seen (n < 25)."""
    tail_index: float
    """Pareto k of |value - median|; moments of order below 1/k exist."""
    largest: float
    """The value furthest from the median, as it is."""
    spread: float
    """Standard deviation of the sample, whether or not there is one to estimate."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Normal interval of the mean. **Raises:** `ValueError` where there is none."""
        if not math.isfinite(self.standard_error):
            raise ValueError(
                f"no interval: the tail index of the {self.n} values is {self.tail_index:.2f} "
                "(above 0.5 a mean has no standard error, below 25 values it can't be seen). Use "
                "kind 'loo' with PowerTail(1.5), a larger m, or a better encoder"
            )
        from scipy.special import ndtri

        half = float(ndtri(0.5 + level / 2)) * self.standard_error
        return self.mean - half, self.mean + half

    def __str__(self) -> str:
        error = f" +- {self.standard_error:.2g}" if math.isfinite(self.standard_error) else ""
        return (
            f"{self.mean:.6g}{error} (n = {self.n}, tail index {self.tail_index:.2f}, "
            f"furthest {self.largest:.4g})"
        )


def summary(values: Any) -> Summary:
    """Of independent values, any shape. *Host.* **Raises:** `ValueError` unless all are finite."""
    x = np.asarray(values, np.float64).ravel()
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(
            f"summary: `values` must be finite and at least one; {x.size} values, of which "
            f"{int((~np.isfinite(x)).sum())} are not finite"
        )
    away = np.abs(x - np.median(x))
    index = pareto_k(away) if np.any(away > 0) else -math.inf
    spread = float(np.std(x, ddof=1)) if x.size > 1 else math.nan
    error = spread / math.sqrt(x.size) if index <= TOO_HEAVY else math.nan
    return Summary(
        n=x.size,
        mean=float(np.mean(x)),
        standard_error=error,
        tail_index=index,
        largest=float(x[np.argmax(away)]),
        spread=spread,
    )
