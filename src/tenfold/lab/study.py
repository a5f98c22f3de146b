"""What a study is: presets, arms, claims and figures, as plain frozen data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tenfold._papers import Paper as Paper
from tenfold.lab.claim import Claim

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

    from tenfold.lab.results import Results
    from tenfold.lab.run import Run

    Measure = Callable[[Any, Any, Run], Mapping[str, Any]]


@dataclass(frozen=True)
class Arm:
    """One way of doing the thing: the method, a rival, or the method switched off.

    `measure(config, key, run)` returns a dict of floats (or 1-D arrays) and is a pure function of
    `(config, key)`; it may write only through `run`. A metric whose name ends in `_seconds` or
    `_time_ratio` is a timing: it may differ between two runs of the same arm.
    """

    measure: "Measure"
    model: "Callable[[Any, Any], Any] | None" = None
    """`model(config, key)`: builds the untrained model, for `tenfold.lab.load`."""
    says: str = ""
    """What this arm is, in a few words, for the report."""


@dataclass(frozen=True)
class Preset:
    """A named value of the study's Config, with its cost in words."""

    cost: str
    """Such as "1 min, 2 cores"."""
    config: Any
    seeds: int = 3


@dataclass(frozen=True)
class Figure:
    """A picture of a run: `draw(results)` returns the figure and the numbers drawn (columns),
    or None when what it shows was not measured."""

    name: str
    caption: str
    draw: "Callable[[Results], tuple[MatplotlibFigure, Mapping[str, Any]] | None]"


@dataclass(frozen=True)
class Study:
    """A paper's claims, and all that is needed to measure them."""

    paper: Paper
    presets: Mapping[str, Preset]
    arms: Mapping[str, Arm]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...] = ()
    sabotages: Mapping[str, Mapping[str, Arm]] = field(default_factory=lambda: MappingProxyType({}))
    """Negative controls: name -> the arms that it replaces. Each claim names the one that must
    turn it to `fails`; `tenfold run STUDY --sabotage NAME` shows it."""
    differences: tuple[str, ...] = ()
    """How this study differs from the paper's experiments."""

    @property
    def name(self) -> str:
        return self.paper.package

    def __post_init__(self):
        for claim in self.claims:
            self._check(claim)
        for preset in ("smoke", "small", "paper"):
            if preset not in self.presets:
                raise ValueError(f"study {self.name}: the preset {preset!r} is missing")

    def _check(self, claim: Claim):
        if not claim.id.startswith(f"{self.name}/"):
            raise ValueError(f"claim {claim.id!r} must be named {self.name}/...")
        arms = [claim.arm] + ([claim.against] if isinstance(claim.against, str) else [])
        for arm in arms:
            if arm not in self.arms:
                raise ValueError(f"claim {claim.id!r} names the arm {arm!r}, which is not there")
        if claim.sabotage not in self.sabotages:
            raise ValueError(f"claim {claim.id!r} names no known sabotage: {claim.sabotage!r}")
