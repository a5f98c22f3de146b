"""A worker process: takes units from its standard input, one JSON line each, and measures them.

`{}` dismisses it. It also ends when that input does, so no worker outlives a killed parent.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tenfold.lab import registry
from tenfold.lab.files import FileError
from tenfold.lab.interrupt import CtrlC
from tenfold.lab.run import Interrupted, Run
from tenfold.lab.rundir import RunDirectory, restored_config


def measure_unit(run: Run) -> None:
    """Measures one unit and writes its result; emits how it ended."""
    start = time.monotonic()
    try:
        metrics = _measured(run)
        seconds = round(time.monotonic() - start, 3)
        RunDirectory(run.path).write_result(run.arm, run.seed, metrics, seconds)
    except Interrupted as stop:
        run.emit({"event": "interrupted", "step": stop.step, **run.unit})
    except Exception as error:
        run.emit({"event": "failed", "error": _line(error), **run.unit})
        with contextlib.suppress(OSError):  # a full disk, which may be why it failed
            traceback.print_exc()
    else:
        run.emit({"event": "done", "seconds": seconds, **run.unit})


def _measured(run: Run) -> Mapping[str, Any]:
    import jax

    header = RunDirectory(run.path).header()
    study = registry.load(header["study"])
    measure = study.arms_of(header.get("sabotage"))[run.arm].measure
    with _tracking(run):
        metrics = measure(restored_config(study, header), jax.random.key(run.seed), run)
    if not isinstance(metrics, Mapping):
        raise TypeError(f"the arm {run.arm!r} returned {type(metrics).__name__}, not its metrics")
    return metrics


def _line(error: Exception) -> str:
    """The first line of an error; its type too, unless it is tenfold's, written to be read."""
    first = (str(error).strip().splitlines() or [""])[0]
    named = first and type(error).__module__.startswith("tenfold")
    return (first if named else f"{type(error).__name__}: {first}")[:300]


@contextlib.contextmanager
def _tracking(run: Run) -> Iterator[None]:
    """A TensorBoard writer where `TENFOLD_TRACK` is set (it needs the extra `track`)."""
    if not os.environ.get("TENFOLD_TRACK"):
        yield
        return
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise FileError("TENFOLD_TRACK needs tensorboardX: pip install 'tenfold[track]'") from error
    with SummaryWriter(str(run.path / "tensorboard")) as run.writer:
        yield


def _tasks(channel: "queue.SimpleQueue[dict[str, Any] | None]"):
    """Reads tasks in a thread of its own. Input that ends with no farewell: the parent died."""
    for line in sys.stdin:
        task = json.loads(line)
        channel.put(task if "arm" in task else None)
        if "arm" not in task:
            return
    os._exit(1)


def main() -> None:
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a study prints goes to the log, not among the events

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    ctrl_c = CtrlC()
    with ctrl_c.heard():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see pool._sigint_held_back
        channel: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=_tasks, args=(channel,), daemon=True).start()
        from tenfold.lab.devices import enable_compile_cache

        enable_compile_cache()
        while (task := channel.get()) is not None:
            path, arm, seed = Path(task["run"]), task["arm"], task["seed"]
            run = Run(arm, seed, path, emit, ctrl_c=ctrl_c, **task["options"])
            if ctrl_c.count:
                emit({"event": "interrupted", "step": None, **run.unit})
            else:
                measure_unit(run)


if __name__ == "__main__":
    main()
