"""What a study is: presets, arms, claims and figures, as plain frozen data."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tenfold._papers import Paper as Paper
from tenfold.lab.claim import Claim

if TYPE_CHECKING:
    from tenfold.lab.figures import Drawn
    from tenfold.lab.results import Results
    from tenfold.lab.run import Run

    Measure = Callable[[Any, Any, Run], Mapping[str, Any]]


RUN_OPTIONS = frozenset(
    {"seeds", "out", "sabotage", "workers", "checkpoint_seconds", "fresh", "keep"}
)
"""Options of `tenfold run` itself; a Config's fields are options beside them."""


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
    draw: "Callable[[Results], Drawn]"


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

    def claims_of(self, sabotage: str | None) -> tuple[Claim, ...]:
        """The claims that a run judges: under a sabotage those that it must turn to `fails`."""
        named = tuple(claim for claim in self.claims if claim.sabotage == sabotage)
        return named or self.claims

    def arms_of(self, sabotage: str | None) -> dict[str, Arm]:
        """The arms that a run measures: under a sabotage those it replaces, or its claims name."""
        if sabotage is None:
            return dict(self.arms)
        replaced = self.sabotages[sabotage]
        named = {a for claim in self.claims_of(sabotage) for a in (claim.arm, claim.against)}
        arms = {**self.arms, **replaced}
        return {name: arm for name, arm in arms.items() if name in named or name in replaced}

    def __post_init__(self):
        self._check_presets()
        self._check_names()
        for claim in self.claims:
            self._check_claim(claim)

    def _check_presets(self):
        for preset in ("smoke", "small", "paper"):
            if preset not in self.presets:
                raise ValueError(f"study {self.name}: the preset {preset!r} is missing")
        kinds = {type(preset.config) for preset in self.presets.values()}
        if len(kinds) > 1 or not all(map(dataclasses.is_dataclass, kinds)):
            raise ValueError(f"study {self.name}: all presets must hold one dataclass, the Config")
        for option in {f.name for kind in kinds for f in dataclasses.fields(kind)} & RUN_OPTIONS:
            raise ValueError(f"study {self.name}: {option!r} is an option of the command, no field")
        for name, preset in self.presets.items():
            if preset.seeds < 1:
                raise ValueError(f"study {self.name}: the preset {name!r} needs at least one seed")

    def _check_names(self):
        figures = [figure.name for figure in self.figures]
        for name in [self.name, *self.presets, *self.arms, *figures]:
            if not re.fullmatch(r"\w[\w.+-]*", name):
                raise ValueError(f"study {self.name}: {name!r} can't be part of a file's name")
        for sabotage, arms in self.sabotages.items():
            for arm in set(arms) - set(self.arms):
                raise ValueError(f"the sabotage {sabotage!r} replaces {arm!r}, which is no arm")

    def _check_claim(self, claim: Claim):
        if not claim.id.startswith(f"{self.name}/"):
            raise ValueError(f"claim {claim.id!r} must be named {self.name}/...")
        if [other.id for other in self.claims].count(claim.id) > 1:
            raise ValueError(f"two claims are named {claim.id!r}")
        arms = [claim.arm] + ([claim.against] if isinstance(claim.against, str) else [])
        for arm in arms:
            if arm not in self.arms:
                raise ValueError(f"claim {claim.id!r} names the arm {arm!r}, which is not there")
        if claim.sabotage not in self.sabotages:
            raise ValueError(f"claim {claim.id!r} names no known sabotage: {claim.sabotage!r}")
