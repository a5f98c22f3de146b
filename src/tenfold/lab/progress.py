"""How a run shows itself: bars on a terminal, plain lines in a pipe."""

import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console


@runtime_checkable
class Progress(Protocol):
    def open(self, path: Path, units: int, todo: int) -> None: ...
    def show(self, event: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


def for_console(console: Console) -> Progress:
    return Bars(console) if console.is_terminal else Lines(console)


def _head(path: Path, units: int, todo: int) -> str:
    finished = f", {units - todo} of them finished before" if todo < units else ""
    return f"{path}: {units} units (arm x seed){finished}"


def _unit(event: dict[str, Any]) -> str:
    return f"{event['arm']} seed {event['seed']}"


def _tail(event: dict[str, Any]) -> str | None:
    match event["event"]:
        case "stopping":
            return "stopping; trainings save first (press Ctrl-C twice more to kill them)"
        case "done":
            return f"{_unit(event)}: done in {event['seconds']:.1f} s"
        case "failed":
            return f"{_unit(event)}: FAILED: {event['error']}"
        case "interrupted":
            kept = "" if event["step"] is None else f", kept at step {event['step']}"
            return f"{_unit(event)}: interrupted{kept}"
        case "say":
            return f"{_unit(event)}: {event['line']}"
    return None


class Lines:
    """One plain line for each thing that ends, and a sign of life in long trainings."""

    def __init__(self, console: Console, every: float = 30.0):
        self._console, self._every, self._last = console, every, time.monotonic()

    def open(self, path: Path, units: int, todo: int) -> None:
        self._print(_head(path, units, todo))

    def show(self, event: dict[str, Any]) -> None:
        line = _tail(event)
        if line is None and event["event"] == "progress":
            if time.monotonic() - self._last < self._every:
                return
            line = f"{_unit(event)}: step {event['step']} of {event['steps']}"
        if line is not None:
            self._last = time.monotonic()
            self._print(line)

    def close(self) -> None:
        pass

    def _print(self, line: str):
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """A bar for the whole run, and one for each unit that is running."""

    def __init__(self, console: Console):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TimeElapsedColumn())  # fmt: skip
        self._bars = RichProgress(*columns, console=console, transient=True)
        self._console, self._tasks = console, {}

    def open(self, path: Path, units: int, todo: int) -> None:
        self._console.print(_head(path, units, todo), markup=False, highlight=False)
        if todo:
            self._bars.start()
            self._all = self._bars.add_task("all", total=todo)

    def show(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "start":
            self._tasks[_unit(event)] = self._bars.add_task(_unit(event), total=None)
        elif kind == "progress":
            task = self._tasks[_unit(event)]
            self._bars.update(task, completed=event["step"], total=event["steps"])
        elif kind in ("done", "failed", "interrupted"):
            self._bars.remove_task(self._tasks.pop(_unit(event)))
            self._bars.advance(self._all)
        line = _tail(event)
        if line is not None:
            self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()
