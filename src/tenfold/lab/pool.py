"""Worker processes, and which unit goes to which."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Unit = tuple[str, int]
"""(arm, seed)."""


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

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what a dead worker never read
                    stream.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it died: its reader reports that


class Pool:
    """Some workers, started together, that measure units of any run."""

    def __init__(self, count: int, *, threads: int | None, log_folder: Path):
        self.events: queue.Queue[tuple[Worker, dict[str, Any]]] = queue.Queue()
        self._environment, self._folder = dict(os.environ), log_folder
        if threads is not None:
            self._environment["NPROC"] = str(threads)  # XLA reads it before it starts
        log_folder.mkdir(parents=True, exist_ok=True)
        self.workers = [self._start(number) for number in range(count)]

    def _start(self, number: int) -> Worker:
        log = self._folder / f".worker-{number}.log"
        with log.open("ab") as stderr:
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
        for line in worker.process.stdout:
            with contextlib.suppress(ValueError):  # torn, by a worker that was killed
                self.events.put((worker, json.loads(line)))
        worker.process.wait()
        self.events.put((worker, {"event": "gone", "code": worker.process.returncode}))

    def interrupt(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGINT)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            try:
                worker.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                worker.process.kill()
            worker.close()

    def run(self, path: Path, schedule: Schedule, options: dict[str, Any]) -> Iterator[dict]:
        """Measures the scheduled units of the run at `path`; yields every event as it comes."""
        for worker in self.workers:
            yield from self._feed(worker, path, schedule, options)
        while any(worker.busy for worker in self.workers):
            worker, event = self.events.get()
            if event["event"] == "gone":
                if worker.busy:
                    yield self._lost(worker, event["code"])
                worker.busy = None
                if schedule.waiting:
                    yield from self._feed(self._replaced(worker), path, schedule, options)
                continue
            yield event
            if event["event"] in ("done", "failed", "interrupted"):
                worker.busy = None
                yield from self._feed(worker, path, schedule, options)

    def _feed(self, worker: Worker, path: Path, schedule: Schedule, options: dict[str, Any]):
        unit = schedule.next(worker.number) if worker.process.poll() is None else None
        if unit is not None:
            task = {"run": str(path), "arm": unit[0], "seed": unit[1], "options": options}
            worker.give(task)
            yield {"event": "start", "arm": unit[0], "seed": unit[1]}

    def _replaced(self, worker: Worker) -> Worker:
        """A new process in the place of one that died."""
        worker.close()
        self.workers[worker.number] = self._start(worker.number)
        return self.workers[worker.number]

    def _lost(self, worker: Worker, code: int) -> dict[str, Any]:
        assert worker.busy is not None
        why = f"its worker died (exit code {code}; out of memory?); see {worker.log}"
        unit = {"arm": worker.busy["arm"], "seed": worker.busy["seed"]}
        return {"event": "failed", "error": why, **unit}
