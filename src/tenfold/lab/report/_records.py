"""What a report is made of: a run, its claims, units and figures, as frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold._papers import Paper
from tenfold.lab.claim import Claim, Verdict


@dataclass(frozen=True)
class Unit:
    """One arm at one seed."""

    arm: str
    seed: int
    state: str
    """`done`, `running`, `failed` or `pending`."""
    seconds: float | None
    error: str | None


@dataclass(frozen=True)
class Environment:
    """What the run was measured on."""

    machine: str
    cores: int | None
    memory_gb: float | None
    python: str
    threads: int | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ClaimRecord:
    """A claim, what was measured for it, and the verdict."""

    claim: Claim
    verdict: Verdict
    values: Mapping[int, float]
    """The arm's metric per seed; nan where it was not finite."""
    against: Mapping[int, float] | float


@dataclass(frozen=True)
class FigureRecord:
    """A figure and the numbers drawn in it."""

    name: str
    caption: str
    svg: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class RunRecord:
    """All that a run directory says, ready to be reported."""

    directory: Path
    study: str
    preset: str
    seeds: tuple[int, ...]
    config: Mapping[str, Any]
    command: str
    sabotage: str | None
    environment: Environment
    git: str | None
    created: str
    state: str
    """`done`, `running`, `interrupted` or `failed`."""
    units: tuple[Unit, ...]
    paper: Paper
    arms: Mapping[str, str]
    claims: tuple[ClaimRecord, ...]
    differences: tuple[str, ...]
    figures: tuple[FigureRecord, ...]

    @property
    def unfinished(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.state != "done")
