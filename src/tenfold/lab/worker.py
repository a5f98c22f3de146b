"""A worker process: takes units from its standard input, one JSON line each, and measures them.

`{}` dismisses it. It also ends when that input does, so no worker outlives a killed parent.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenfold.lab.run import Interrupted, Run

Emit = Callable[[dict[str, Any]], None]


def measure_unit(path: Path, arm: str, seed: int, emit: Emit, **options: Any) -> None:
    """Runs one (arm, seed) of the run at `path` and writes its result; emits how it ended."""
    unit = {"arm": arm, "seed": seed, "run": str(path)}
    start = time.monotonic()
    try:
        _measure(path, arm, seed, emit, start, options)
    except Interrupted as stop:
        emit({"event": "interrupted", "step": stop.step, **unit})
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        kind = "" if lines[0] and type(error).__module__.startswith("tenfold") else (
            f"{type(error).__name__}: "
        )  # fmt: skip
        emit({"event": "failed", "error": (kind + lines[0])[:300], **unit})
    else:
        emit({"event": "done", "seconds": round(time.monotonic() - start, 3), **unit})


def _measure(path: Path, arm: str, seed: int, emit: Emit, start: float, options: dict[str, Any]):
    import jax

    from tenfold.lab import registry
    from tenfold.lab.rundir import RunDirectory, arms_of, restored_config

    directory = RunDirectory(path)
    header = directory.header()
    study = registry.load(header["study"])
    run = Run(arm, seed, path, emit=lambda event: emit({**event, "run": str(path)}), **options)
    run.writer = _writer(path)
    measure = arms_of(study, header.get("sabotage"))[arm].measure
    metrics = measure(restored_config(study, header), jax.random.key(seed), run)
    directory.write_result(arm, seed, metrics, round(time.monotonic() - start, 3))


def _writer(path: Path) -> Any:
    """A TensorBoard writer where `TENFOLD_TRACK` is set (it needs the extra `track`)."""
    if not os.environ.get("TENFOLD_TRACK"):
        return None
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    return SummaryWriter(str(path / "tensorboard"))


def _tasks(channel: "queue.Queue[dict[str, Any] | None]"):
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
    lock = threading.Lock()

    def emit(event: dict[str, Any]) -> None:
        with lock:
            events.write(json.dumps(event) + "\n")

    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    channel: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_tasks, args=(channel,), daemon=True).start()
    from tenfold.lab.devices import enable_compile_cache

    enable_compile_cache()
    while (task := channel.get()) is not None:
        if interrupted.is_set():
            emit({"event": "interrupted", "step": 0, **task})
        else:
            options = task.pop("options", {})
            measure_unit(Path(task["run"]), task["arm"], task["seed"], emit, **options)


if __name__ == "__main__":
    main()
