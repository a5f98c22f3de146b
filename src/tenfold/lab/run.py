"""What an arm is given to write through: records, progress, checkpoints."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenfold.lab.files import append_jsonl
from tenfold.lab.interrupt import CtrlC


class Interrupted(BaseException):
    """Ctrl-C: the state is saved as of `step`. (No Exception: no arm should swallow it.)"""

    def __init__(self, step: int):
        super().__init__(f"interrupted at step {step}")
        self.step = step


class Stopped(RuntimeError):
    """A training stopped itself because a number was no longer finite."""

    def __init__(self, why: str, last_good: int):
        good = f"the checkpoint of step {last_good} is good" if last_good else "none was saved yet"
        super().__init__(f"{why}; {good}; try a smaller learning rate or weight")


def _quiet(event: dict[str, Any]) -> None:
    del event


@dataclass
class Run:
    """The one unit (arm, seed) that is running, and its way out to disk and terminal."""

    arm: str
    seed: int
    path: Path
    """The run directory."""
    emit: Callable[[dict[str, Any]], None] = _quiet
    """Receives progress events (plain dicts)."""
    checkpoint_seconds: int | float = 20
    writer: Any = None
    """A tensorboardX `SummaryWriter`, when tracking is on."""
    ctrl_c: CtrlC = field(default_factory=CtrlC)
    """Once it was pressed, every training of this unit saves and stops at its next step."""
    trainings: set[str] = field(default_factory=set)
    """Names of the trainings begun: two of one name would read each other's checkpoints."""
    _start: float = field(default_factory=time.monotonic)

    def checkpoints(self, name: str = "") -> Path:
        folder = self.path / "checkpoints" / f"{self.arm}-{self.seed}"
        return folder / name if name else folder

    def record(self, step: int, **metrics: float) -> None:
        """Appends one line to metrics.jsonl."""
        wall = round(time.monotonic() - self._start, 3)
        line = {"arm": self.arm, "seed": self.seed, "step": step, "wall": wall, **metrics}
        append_jsonl(self.path / "metrics.jsonl", line)
        if self.writer is not None:
            for name, value in metrics.items():
                self.writer.add_scalar(f"{self.arm}-{self.seed}/{name}", value, step)

    def progress(self, step: int, steps: int) -> None:
        self.emit({"event": "progress", "step": step, "steps": steps, **self.unit})

    def say(self, line: str) -> None:
        """One line to the user."""
        self.emit({"event": "say", "line": line, **self.unit})

    @property
    def unit(self) -> dict[str, Any]:
        return {"arm": self.arm, "seed": self.seed}
