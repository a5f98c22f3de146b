"""What a run measured, gathered for claims, figures and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenfold.lab.claim import Claim, Verdict, judge


@dataclass(frozen=True)
class Results:
    """Metrics of the finished (arm, seed) units of one run."""

    config: Any
    metrics: Mapping[str, Mapping[int, Mapping[str, Any]]]
    """arm -> seed -> metric -> float, or list of floats."""

    @property
    def arms(self) -> list[str]:
        return list(self.metrics)

    def values(self, arm: str, metric: str) -> dict[int, Any]:
        """The metric per seed, where it was measured."""
        units = self.metrics.get(arm, {})
        return {seed: unit[metric] for seed, unit in sorted(units.items()) if metric in unit}

    def first(self, arm: str, metric: str) -> Any:
        """The metric of the first seed that has it, as an array; None where none has."""
        import numpy as np

        values = self.values(arm, metric)
        return np.asarray(next(iter(values.values()))) if values else None

    def mean(self, arm: str, metric: str) -> Any:
        """Mean over seeds (an array for a 1-D metric); nan when nothing was measured."""
        import numpy as np  # here, since `tenfold list` and the data rooms need none

        values = list(self.values(arm, metric).values())
        return np.mean(np.asarray(values, float), axis=0) if values else np.nan

    def judge(self, claim: Claim) -> Verdict:
        against: Mapping[int, float] | float
        if isinstance(claim.against, str):
            against = self.values(claim.against, claim.metric)
        else:
            against = claim.against
        return judge(claim, self.values(claim.arm, claim.metric), against)
