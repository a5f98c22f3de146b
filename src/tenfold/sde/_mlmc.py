"""Multilevel Monte Carlo: the mean of a payoff from coupled levels of steps (Giles 2008, 2015)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PyTree

from tenfold.base import RESULTS
from tenfold.base.mc import Moments, moments_merge
from tenfold.base.typing import Key
from tenfold.sde._levels import Levels, Payoff, levels_of, moments_of_level
from tenfold.sde._methods import AbstractMethod
from tenfold.sde._sde import SDE


@dataclass(frozen=True)
class Level:
    """What one level gave. *Host.*"""

    substeps: int
    samples: int
    mean: float
    """Of the payoff less that of the level below on the same path."""
    variance: float
    cost: int
    """Steps of the scheme a sample."""


@dataclass(frozen=True)
class Multilevel:
    """What `mlmc` returns. *Host.*"""

    estimate: float
    standard_error: float
    """Of the estimate, from the samples; without the bias."""
    bias: float
    """About what is missing from finer levels, by the decay of the means."""
    levels: tuple[Level, ...]
    plain_cost: float
    """Steps that plain Monte Carlo at the finest level would take for the same error."""
    result: RESULTS
    """`successful`, or `max_steps_reached`: the bias is above eps / sqrt 2 at the last level."""

    @property
    def cost(self) -> int:
        """Steps of the scheme, all together."""
        return sum(level.samples * level.cost for level in self.levels)

    @property
    def samples(self) -> tuple[int, ...]:
        """By level; what `multilevel_mean` takes."""
        return tuple(level.samples for level in self.levels)


def mlmc(
    sde: SDE,
    payoff: Payoff,
    z0: ArrayLike,
    ts: ArrayLike,
    eps: float,
    *,
    args: PyTree = None,
    method: AbstractMethod | None = None,
    coarsest: int = 1,
    most: int = 10,
    first: int = 1000,
    antithetic: bool = False,
    batch: int = 4096,
    key: Key,
) -> Multilevel:
    r"""*Host.* E payoff with a root mean square error of about eps, by multilevel Monte Carlo.

    $$E P_L = E P_0 + \sum_{l=1}^L E (P_l - P_{l-1})$$

    P_l has 2^l times the steps of P_0. Both terms of a difference see the same Brownian path, so
    its variance V_l is small and few of the costly samples suffice:
    $N_l = 2 eps^{-2} \sqrt{V_l / C_l} \sum_k \sqrt{V_k C_k}$, with C_l the steps of a sample. A
    level is added while the bias that the decay of the means tells is above eps / sqrt 2.

    **Arguments:**

    - `sde`, one state `z0` (d,), `ts` (T,); `payoff`: `zs -> number` for the states (T, d).
    - `eps`: the error wanted.
    - `method`: by default `Milstein()`, or `Heun()` for general noise. The better its strong order,
      the faster V_l falls.
    - `coarsest`: substeps of level 0. `most`: the last level. `first`: samples to begin with.
    - `antithetic`: a sample is the mean over W and -W.
    - `batch`: samples drawn at once at level 0.

    **Returns:** `Multilevel`; its `result` tells where a payoff was not finite, and it stopped.

    **Raises:** `ValueError` for eps <= 0, a payoff that isn't one number, a z0 of several states.

    **Cost:** O(eps^-2) steps where the scheme has strong order 1 and the payoff is Lipschitz,
    against O(eps^-3) of plain Monte Carlo. One compilation a level.

    Giles, Operations Research 56 (2008); Acta Numerica 24 (2015), section 3, algorithm 1.
    """
    if not eps > 0 or most < 2:
        raise ValueError(f"mlmc: eps > 0 and most >= 2 must hold, got {eps} and {most}")
    levels = levels_of(sde, payoff, z0, ts, args, method, coarsest, antithetic, batch)
    run = _Run(levels, eps, key, [])
    for _ in range(3):
        run.add(first)
    while True:
        if not run.sample():
            return run.conclusion(np.nan)
        bias = run.bias()
        if bias <= eps / np.sqrt(2) or len(run.moments) > most:
            return run.conclusion(bias)
        run.add(0)


@dataclass
class _Run:
    """Moments of each level so far."""

    levels: Levels
    eps: float
    key: Key
    moments: list[Moments]

    def add(self, samples: int) -> None:
        """One more level, with at least one batch."""
        self.moments.append(self._drawn(len(self.moments), 0, max(samples, 1)))

    def _drawn(self, level: int, have: int, more: int) -> Moments:
        size = self.levels.size(level)
        first, batches = jnp.int32(have // size), jnp.int32(-(-more // size))
        return moments_of_level(
            self.levels, level, jax.random.fold_in(self.key, level), first, batches
        )

    def sample(self) -> bool:
        """Draws until every level has the samples that its variance asks for, within 1 %; False
        where a payoff was not finite, so that no number of samples would do."""
        while True:
            if not np.isfinite([*self._means(), *self._variances()]).all():
                return False
            counts = np.array([int(m.count) for m in self.moments])
            more = np.maximum(0, self._wanted() - counts)
            if np.all(more <= 0.01 * counts):
                return True
            for level in np.flatnonzero(more > 0).tolist():
                drawn = self._drawn(level, int(counts[level]), int(more[level]))
                self.moments[level] = moments_merge(self.moments[level], drawn)

    def _wanted(self) -> np.ndarray:
        variances, costs = self._variances(), self._costs()
        total = np.sum(np.sqrt(variances * costs))
        return np.ceil(2 * self.eps**-2 * np.sqrt(variances / costs) * total).astype(np.int64)

    def _means(self) -> np.ndarray:
        return np.array([float(m.mean["difference"]) for m in self.moments])

    def _variances(self) -> np.ndarray:
        return np.array([float(m.variance()["difference"]) for m in self.moments])

    def _costs(self) -> np.ndarray:
        return np.array([self.levels.cost(i) for i in range(len(self.moments))], np.float64)

    def bias(self) -> float:
        """max over the last levels of |mean_l| 2^(-alpha (L - l)) / (2^alpha - 1), alpha fitted."""
        means = np.abs(self._means())[1:]
        level = np.arange(1, len(means) + 1)
        slope = -np.polyfit(level, np.log2(np.maximum(means, 1e-300)), 1)[0]
        alpha = max(0.5, float(slope))
        last = means[-3:] * 2.0 ** (alpha * (level[-3:] - level[-1]))
        return float(np.max(last) / (2**alpha - 1))

    def conclusion(self, bias: float) -> Multilevel:
        variances, counts = self._variances(), [int(m.count) for m in self.moments]
        means, square = self._means(), float(np.sum(variances / np.array(counts)))
        rows = zip(counts, means.tolist(), variances.tolist(), strict=True)
        finest = len(self.moments) - 1
        fine_variance = float(self.moments[-1].variance()["fine"])
        if not np.isfinite(bias):
            result = RESULTS.nonfinite
        elif bias <= self.eps / np.sqrt(2):
            result = RESULTS.successful
        else:
            result = RESULTS.max_steps_reached
        return Multilevel(
            estimate=float(np.sum(means)),
            standard_error=float(np.sqrt(square)),
            bias=bias,
            levels=tuple(
                Level(self.levels.coarsest * 2**i, n, mean, variance, self.levels.cost(i))
                for i, (n, mean, variance) in enumerate(rows)
            ),
            plain_cost=(fine_variance / square if square else np.nan)
            * self.levels.plain_cost(finest),
            result=result,
        )
