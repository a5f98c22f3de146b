"""Runs a study: arms x seeds, what is finished is skipped, what was cut off goes on."""

import contextlib
import dataclasses
import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tenfold.lab.environment import commit, cores, environment
from tenfold.lab.files import FileError
from tenfold.lab.interrupt import CtrlC
from tenfold.lab.pool import Pool, Schedule, Unit
from tenfold.lab.progress import Progress
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import (
    RunDirectory,
    config_hash,
    fields_hash,
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
    checkpoint_seconds: int | float = 20
    """Time between the checkpoints of a training."""
    if_changed: Literal["refuse", "keep", "fresh"] = "refuse"
    """When the study's source changed since the run: refuse, go on, or set it aside and start
    over."""


def worker_count(options: Options) -> int:
    from tenfold.lab.devices import has_accelerator

    if options.workers is not None:
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

    **Raises:** `RunError` when the source changed since and `options` don't say what to do, or when
    another process works there; `FileError`; `UnknownName` for the sabotage.
    """
    if sabotage is not None and sabotage not in study.sabotages:
        raise UnknownName("sabotage", sabotage, study.sabotages)
    directory = RunDirectory(out / study.name / f"{preset}-{config_hash(config, sabotage)}")
    with _locked(directory.path):
        changed = directory.begun and source_changed(study, directory)
        if changed and options.if_changed == "refuse":
            raise RunError(
                f"the source of {study.name} changed since {directory.path} was run: --fresh sets "
                "it aside and starts over, --keep goes on with what is there"
            )
        if changed and options.if_changed == "fresh":
            _set_aside(directory.path)
        elif directory.begun:
            header = directory.header()
            together = sorted({*header["seeds"], *seeds})
            if together != header["seeds"]:
                directory.write_header(header | {"seeds": together})
            return directory
        header = new_header(
            study, preset, config, seeds, sabotage=sabotage, command=command,
            environment=environment(1 if worker_count(options) > 1 else cores()), commit=commit(),
        )  # fmt: skip
        directory.write_header(header)
    return directory


def source_changed(study: Study, directory: RunDirectory) -> bool:
    return directory.header().get("source") != source_digest(study.name)


def _set_aside(path: Path):
    number = 1
    while (old := path.with_name(f"{path.name}.old{number}")).exists():
        number += 1
    path.rename(old)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time works on a run directory, which is made if need be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
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


def execute(study: Study, directory: RunDirectory, options: Options, progress: Progress) -> Outcome:
    """Measures every unit of the run that isn't finished.

    **Raises:** `RunError` when another process works there, or config.json was edited; `FileError`.
    """
    header = directory.header()
    _check_unedited(directory, header)
    restored_config(study, header)  # refuse now what a worker would refuse later
    with _locked(directory.path):
        return _Execution(study, directory, header, options, progress).run()


def _check_unedited(directory: RunDirectory, header: Mapping[str, Any]):
    """What is finished was measured with the config that gave the folder its name."""
    given = re.fullmatch(r".*-([0-9a-f]{8})", directory.path.resolve().name)
    if given and given[1] != fields_hash(header["config"], header.get("sabotage")):
        raise RunError(
            f"{directory.path / 'config.json'} was edited: its config is not the one that gave the "
            "folder its name; other options make another run (tenfold run STUDY PRESET --help)"
        )


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

    def run(self) -> Outcome:
        todo = [unit for unit, status in self._units.items() if status["state"] != "done"]
        count = min(worker_count(self._options), len(todo))
        pool = Pool(count, threads=self._threads, log_folder=self._directory.path)
        ctrl_c = CtrlC(pool.interrupt)
        with ctrl_c.heard():
            self._progress.open(self._directory.path, len(self._units), len(todo))
            if todo:
                self._measure(todo, pool)
        states = {unit["state"] for unit in self._units.values()}
        state = "interrupted" if ctrl_c.count else "done" if states == {"done"} else "failed"
        self._write(state)
        errors = {unit_name(*k): u["error"] for k, u in self._units.items() if u["error"]}
        return Outcome(self._directory, state, errors)

    def _measure(self, todo: list[Unit], pool: Pool):
        self._write("running")
        options = {"checkpoint_seconds": self._options.checkpoint_seconds}
        with contextlib.closing(self._progress), pool:
            for event in pool.run(self._directory.path.absolute(), Schedule(todo), options):
                self._take(event)

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

    def _write(self, state: str):
        units = {unit_name(*key): unit for key, unit in self._units.items()}
        self._directory.write_status(state, units)
