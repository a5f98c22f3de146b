"""Worker processes, and which unit goes to which."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Unit = tuple[str, int]
"""(arm, seed)."""

FAREWELL_SECONDS = 20.0
"""How long dismissed workers may take to end."""


class Schedule:
    """Hands out units so that one worker keeps to one arm: each arm is then compiled once.

    A worker without an arm takes the first that nobody has, then helps with the longest.
    """

    def __init__(self, units: Sequence[Unit]):
        self._waiting: dict[str, list[int]] = {}
        for arm, seed in units:
            self._waiting.setdefault(arm, []).append(seed)
        self._holder: dict[int, str] = {}

    def next(self, worker: int) -> Unit | None:
        self._waiting = {arm: seeds for arm, seeds in self._waiting.items() if seeds}
        if not self._waiting:
            return None
        arm = self._holder.get(worker)
        if arm not in self._waiting:
            free = [a for a in self._waiting if a not in self._holder.values()]
            arm = free[0] if free else max(self._waiting, key=lambda a: len(self._waiting[a]))
            self._holder[worker] = arm
        return arm, self._waiting[arm].pop(0)

    @property
    def waiting(self) -> bool:
        return any(self._waiting.values())

    def cancel(self) -> None:
        self._waiting = {}


@dataclass
class Worker:
    """One worker process; its events arrive in a queue shared with the others."""

    number: int
    process: subprocess.Popen
    log: Path
    busy: dict[str, Any] | None = field(default=None)

    def give(self, task: dict[str, Any]) -> None:
        self.busy = task
        self._send(task)

    def dismiss(self) -> None:
        self._send({})

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def interrupt(self) -> None:
        if self.alive:
            self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float) -> None:
        """Waits so long for a process that was dismissed, then kills it."""
        try:
            self.process.wait(timeout=max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.close()

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # what a dead worker never read
            self.process.stdin.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it died: its reader reports that


class Pool:
    """Some workers, started together, that measure units of a run."""

    def __init__(self, count: int, *, threads: int | None, log_folder: Path):
        # A SimpleQueue, since a signal handler may put into it at any moment.
        self.events: queue.SimpleQueue[tuple[Worker | None, dict[str, Any]]] = queue.SimpleQueue()
        self.workers: list[Worker] = []
        self._count, self._folder, self._interrupted = count, log_folder, False
        self._environment = dict(os.environ)
        if threads is not None:
            self._environment["NPROC"] = str(threads)  # XLA reads it before it starts

    def __enter__(self) -> "Pool":
        for number in range(self._count):
            self.workers.append(self._start(number))
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for worker in self.workers:
            if kind is not None:  # something broke here; trainings shall not lose by it
                worker.interrupt()
            worker.dismiss()
        limit = time.monotonic() + FAREWELL_SECONDS
        for worker in self.workers:
            worker.end(limit - time.monotonic())

    def interrupt(self, count: int) -> None:
        """Ctrl-C, for the `count`-th time; safe within a signal handler."""
        self.events.put((None, {"event": "interrupt"}))
        if count > 2:
            for worker in self.workers:
                worker.process.kill()

    def run(self, path: Path, schedule: Schedule, options: dict[str, Any]) -> Iterator[dict]:
        """Measures the scheduled units of the run at `path`; yields every event as it comes."""
        for worker in self.workers:
            yield from self._feed(worker, path, schedule, options)
        while schedule.waiting or any(worker.busy for worker in self.workers):
            worker, event = self.events.get()
            if worker is None:
                yield from self._stop(schedule)
                continue
            if event["event"] != "gone":
                yield event
            elif worker.busy:
                yield self._lost(worker, event["code"])
            if event["event"] in ("done", "failed", "interrupted", "gone"):
                worker.busy = None
                if event["event"] == "gone" and schedule.waiting:
                    worker = self._replaced(worker)
                yield from self._feed(worker, path, schedule, options)

    def _start(self, number: int) -> Worker:
        log = self._folder / f".worker-{number}.log"
        with log.open("ab") as stderr, _sigint_held_back():
            process = subprocess.Popen(
                [sys.executable, "-m", "tenfold.lab.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on
            )
        worker = Worker(number, process, log)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: Worker) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # torn, by a worker that was killed
                    self.events.put((worker, json.loads(line)))
        code = worker.process.wait()
        self.events.put((worker, {"event": "gone", "code": code}))

    def _feed(self, worker: Worker, path: Path, schedule: Schedule, options: dict[str, Any]):
        unit = schedule.next(worker.number) if worker.alive else None
        if unit is not None:
            task = {"run": str(path), "arm": unit[0], "seed": unit[1], "options": options}
            worker.give(task)
            yield {"event": "start", "arm": unit[0], "seed": unit[1]}

    def _stop(self, schedule: Schedule):
        """Nothing more is handed out, and what trains is told to save."""
        if not self._interrupted:
            yield {"event": "stopping"}
        self._interrupted = True
        schedule.cancel()
        for worker in self.workers:
            worker.interrupt()

    def _replaced(self, worker: Worker) -> Worker:
        """A new process in the place of one that died."""
        worker.close()
        self.workers[worker.number] = self._start(worker.number)
        return self.workers[worker.number]

    def _lost(self, worker: Worker, code: int) -> dict[str, Any]:
        assert worker.busy is not None
        unit = {"arm": worker.busy["arm"], "seed": worker.busy["seed"]}
        if self._interrupted:
            return {"event": "interrupted", "step": None, **unit}
        return {"event": "failed", "error": f"{_death(code)}; see {worker.log}", **unit}


def _death(code: int) -> str:
    if code >= 0:
        return f"its worker ended by itself, with exit code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"its worker died of signal {-code}, {signal.strsignal(-code)}{hint}"


@contextlib.contextmanager
def _sigint_held_back() -> Iterator[None]:
    """A child inherits the mask: until it takes SIGINT up, a Ctrl-C waits instead of killing it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
