"""A claim of a paper as data, and its verdict from what was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "near"]
Outcome = Literal["holds", "fails", "unclear"]
Values = Mapping[int, float]
"""One number a seed."""

CONFIDENCE = 0.95
MIN_SEEDS = 3


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that a measurement can contradict.

    With a_s the metric of `arm` and b_s that of `against` (or a constant) at seed s, the judged
    quantity is d_s = a_s - b_s, or a_s / b_s - 1 when `compare` is "ratio". With m = `tolerance`:

    - `lower`:  holds when d < -m, so m is how much lower at least; negative: how much higher is
      still accepted;
    - `higher`: holds when d > m, likewise;
    - `near`:   holds when |d| < m.
    """

    id: str
    """`study/name`, unique."""
    says: str
    """The claim in our words."""
    where: str
    """Where the paper makes it."""
    metric: str
    arm: str
    against: str | float
    direction: Direction
    tolerance: float
    sabotage: str
    """Name of the sabotage (see `Study.sabotages`) that must turn this claim to `fails`."""
    compare: Literal["difference", "ratio"] = "difference"
    paper: tuple[float, float] | None = None
    """(theirs, their baseline), only where a table or figure number was checked; else None."""
    scale: str = ""
    """What differs from the paper's scale or data; with it only the direction is compared."""

    def __post_init__(self):
        if self.direction == "near" and self.tolerance <= 0:
            raise ValueError(f"{self.id}: a 'near' claim needs a tolerance > 0")
        if not math.isfinite(self.tolerance):
            raise ValueError(f"{self.id}: the tolerance must be finite")


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of a claim."""

    outcome: Outcome
    mean: float
    """Mean over seeds of d; nan with no seed."""
    low: float
    high: float
    """95 % Student-t interval of the mean of d; infinite with fewer than two seeds."""
    differences: dict[int, float]
    """d per seed."""
    note: str = ""
    """Why it is unclear, where that is not the interval itself."""


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of `values` and the ends of its two-sided 95 % Student-t interval."""
    n = len(values)
    if n == 0:
        return math.nan, -math.inf, math.inf
    mean = math.fsum(values) / n
    if n == 1:
        return mean, -math.inf, math.inf
    from scipy.stats import t  # heavy: only when something is judged

    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def _outcome(claim: Claim, low: float, high: float) -> Outcome:
    margin = claim.tolerance
    if claim.direction == "higher":
        low, high = -high, -low
    if claim.direction == "near":
        if -margin < low and high < margin:
            return "holds"
        return "fails" if low >= margin or high <= -margin else "unclear"
    if high < -margin:
        return "holds"
    return "fails" if low >= -margin else "unclear"


def _difference(claim: Claim, value: float, baseline: float) -> float:
    if claim.compare == "difference":
        return value - baseline
    return value / baseline - 1 if baseline else math.nan


def judge(claim: Claim, values: Values, against: Values | float) -> Verdict:
    """Judges `claim` from the metric of its arm and of what it is compared with, seed by seed.

    Only seeds that both sides finished are paired. Fewer than three, or a value that is not
    finite, leaves the claim `unclear`.
    """
    if isinstance(against, Mapping):
        pairs = {s: (values[s], against[s]) for s in sorted(values) if s in against}
    else:
        pairs = {s: (values[s], float(against)) for s in sorted(values)}
    differences = {s: _difference(claim, a, b) for s, (a, b) in pairs.items()}
    if not all(math.isfinite(d) for d in differences.values()):
        note = "a measured value is not finite"
        return Verdict("unclear", math.nan, -math.inf, math.inf, differences, note)
    mean, low, high = t_interval(list(differences.values()))
    if len(differences) < MIN_SEEDS:
        note = f"{len(differences)} of at least {MIN_SEEDS} seeds"
        return Verdict("unclear", mean, low, high, differences, note)
    return Verdict(_outcome(claim, low, high), mean, low, high, differences)
