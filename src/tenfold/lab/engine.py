"""Runs a study: arms x seeds, what is finished is skipped, what was cut off goes on."""

import contextlib
import dataclasses
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tenfold.lab.environment import commit, cores, environment
from tenfold.lab.files import FileError, write_json
from tenfold.lab.pool import Pool, Schedule
from tenfold.lab.progress import Progress
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import (
    RunDirectory,
    arms_of,
    config_hash,
    new_header,
    restored_config,
    source_digest,
    unit_name,
    units_of,
)
from tenfold.lab.study import Study


class RunError(RuntimeError):
    """A run can't start or go on; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run, which changes no number."""

    workers: int | None = None
    """Worker processes; by default one a core up to two, and one beside an accelerator."""
    checkpoint_seconds: float = 20.0
    """Time between the checkpoints of a training."""
    if_changed: str = "ask"
    """What to do when the study's source changed since the run: "ask" (refuse), "keep", "fresh"."""


def worker_count(options: Options) -> int:
    from tenfold.lab.devices import has_accelerator

    if options.workers is not None:
        if options.workers < 1:
            raise RunError(f"--workers must be at least 1, got {options.workers}")
        return options.workers
    return 1 if has_accelerator() else min(2, cores())


def prepare(
    study: Study,
    preset: str,
    config: Any,
    seeds: Sequence[int],
    out: Path,
    command: str,
    *,
    sabotage: str | None = None,
    options: Options,
) -> RunDirectory:
    """The run directory of this config, made or found again; its header takes on the new seeds.

    **Raises:** `RunError` when the source changed since and `options` don't say what to do;
    `FileError`; `UnknownName` for the sabotage.
    """
    if sabotage is not None and sabotage not in study.sabotages:
        raise UnknownName("sabotage", sabotage, study.sabotages)
    name = f"{preset}-{config_hash(config, sabotage)}"
    directory = RunDirectory(out / study.name / name)
    if (directory.path / "config.json").exists():
        header = directory.header()
        if header.get("source") == source_digest(study.name) or options.if_changed == "keep":
            seeds = sorted({*header["seeds"], *seeds})
            if seeds != header["seeds"]:
                directory.write_header(header | {"seeds": seeds})
            return directory
        if options.if_changed != "fresh":
            raise RunError(
                f"the source of {study.name} changed since {directory.path} was run: --fresh sets "
                "it aside and starts over, --keep goes on with what is there"
            )
    if options.if_changed == "fresh" and directory.path.exists():
        with _locked(directory.path):
            _set_aside(directory.path)
    threads = 1 if worker_count(options) > 1 else cores()
    header = new_header(
        study, preset, config, seeds, sabotage=sabotage, command=command,
        environment=environment(threads), commit=commit(),
    )  # fmt: skip
    directory.write_header(header)
    return directory


def _set_aside(path: Path):
    number = 1
    while (old := path.with_name(f"{path.name}.old{number}")).exists():
        number += 1
    path.rename(old)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time works on a run directory."""
    try:
        file = (path / ".lock").open("w")
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"another tenfold process is working on {path}") from None
        yield


@dataclasses.dataclass
class Outcome:
    """How a run ended."""

    directory: RunDirectory
    state: str
    """`done`, `failed` (some unit did) or `interrupted`."""
    errors: dict[str, str]
    """Unit -> one line."""
    measured: int
    """Units measured now (the others were finished before)."""


def execute(study: Study, directory: RunDirectory, options: Options, progress: Progress) -> Outcome:
    """Measures every unit of the run that isn't finished."""
    header = directory.header()
    restored_config(study, header)  # refuse now what a worker would refuse later
    with _locked(directory.path):
        return _Execution(study, directory, header, options, progress).run()


class _Execution:
    """The bookkeeping of one `execute`."""

    def __init__(self, study, directory, header, options, progress):
        self._directory, self._options, self._progress = directory, options, progress
        self._threads = header["environment"].get("threads")
        self._units = {
            (arm, seed): {"arm": arm, "seed": seed, "state": "pending", "seconds": None,
                          "error": None}
            for arm, seed in units_of(study, header)
        }  # fmt: skip
        for (arm, seed), unit in self._units.items():
            if directory.finished(arm, seed):
                seconds = directory.read_result(arm, seed)["seconds"]
                unit.update(state="done", seconds=seconds)
        self._interrupts = 0

    def run(self) -> Outcome:
        todo = [unit for unit, status in self._units.items() if status["state"] != "done"]
        self._progress.open(self._directory.path, len(self._units), len(todo))
        if not todo:
            self._write("done")
            return self._outcome("done", 0)
        self._write("running")
        schedule = Schedule(todo)
        count = min(worker_count(self._options), len(todo))
        with Pool(count, threads=self._threads, log_folder=self._directory.path) as pool:
            previous = signal.signal(signal.SIGINT, lambda *_: self._interrupt(pool, schedule))
            try:
                options = {"checkpoint_seconds": self._options.checkpoint_seconds}
                for event in pool.run(self._directory.path.absolute(), schedule, options):
                    self._take(event)
            finally:
                signal.signal(signal.SIGINT, previous)
                self._progress.close()
        return self._finish(len(todo))

    def _interrupt(self, pool: Pool, schedule: Schedule):
        self._interrupts += 1
        schedule.cancel()
        if self._interrupts > 2:
            for worker in pool.workers:
                worker.process.kill()
        pool.interrupt()

    def _take(self, event: dict[str, Any]):
        self._progress.show(event)
        changes = {
            "start": {"state": "running"},
            "done": {"state": "done", "seconds": event.get("seconds")},
            "failed": {"state": "failed", "error": event.get("error")},
            "interrupted": {"state": "pending"},
        }.get(event["event"])
        if changes is not None:
            self._units[event["arm"], event["seed"]].update(changes)
            self._write("running")

    def _finish(self, measured: int) -> Outcome:
        states = [unit["state"] for unit in self._units.values()]
        state = "done" if set(states) == {"done"} else "failed"
        if self._interrupts:
            state = "interrupted"
        self._write(state)
        return self._outcome(state, measured)

    def _outcome(self, state: str, measured: int) -> Outcome:
        errors = {unit_name(*k): u["error"] for k, u in self._units.items() if u["error"]}
        return Outcome(self._directory, state, errors, measured)

    def _write(self, state: str):
        units = {unit_name(*key): unit for key, unit in self._units.items()}
        self._directory.write_status(state, units)


def conclude(study: Study, directory: RunDirectory) -> None:
    """Judges the claims of a run, draws its figures and writes its report."""
    from tenfold.lab import report

    header = directory.header()
    arms = arms_of(study, header.get("sabotage"))
    config = restored_config(study, header)
    results = directory.results(config, list(arms), header["seeds"])
    judged = [] if header["preset"] == "smoke" else [_judged(c, results) for c in study.claims]
    paper = {k: getattr(study.paper, k) for k in ("package", "title", "arxiv", "headline")}
    write_json(
        directory.path / "claims.json",
        {
            "claims": judged,
            "paper": paper,
            "differences": list(study.differences),
            "arms": {name: arm.says for name, arm in arms.items()},
        },
    )
    _draw(study, results, directory.path / "figures")
    report.write([report.read_run(directory.path)], directory.report_file)


def _judged(claim, results) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if value == value and abs(value) != float("inf") else None

    def per_seed(values) -> Any:
        return {str(s): finite(v) for s, v in values.items()}

    verdict = results.judge(claim)
    record = dataclasses.asdict(claim) | dataclasses.asdict(verdict)
    against = claim.against
    record["values"] = per_seed(results.values(claim.arm, claim.metric))
    record["against_values"] = (
        per_seed(results.values(against, claim.metric)) if isinstance(against, str) else against
    )
    record["differences"] = per_seed(verdict.differences)
    return record | {k: finite(getattr(verdict, k)) for k in ("mean", "low", "high")}


def _draw(study: Study, results, folder: Path):
    from tenfold.lab import figures

    drawn = []
    for figure in study.figures:
        with figures.style():
            picture = figure.draw(results)
        if picture is None:  # what it shows was not measured
            continue
        figures.save(*picture, figure.name, folder)
        drawn.append({"name": figure.name, "caption": figure.caption})
    write_json(folder / "figures.json", drawn)


def newest_runs(out: Path) -> list[Path]:
    """The newest finished run of each study below `out`, controls and smoke runs left out."""
    chosen: dict[str, tuple[float, Path]] = {}
    for file in out.glob("*/*/claims.json"):
        header = RunDirectory(file.parent).header()
        if header.get("sabotage") or header["preset"] == "smoke" or ".old" in file.parent.name:
            continue
        when = os.stat(file).st_mtime
        if when >= chosen.get(header["study"], (0.0, file))[0]:
            chosen[header["study"]] = (when, file.parent)
    return [path for _, path in sorted(chosen.values(), key=lambda item: item[1])]


def elapsed(start: float) -> str:
    seconds = time.monotonic() - start
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
