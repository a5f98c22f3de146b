"""The verbs that need a study: run, resume, report."""

import dataclasses
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenfold.lab import engine, registry, report
from tenfold.lab.conclusion import conclude, newest_runs
from tenfold.lab.engine import Options, Outcome, RunError
from tenfold.lab.files import FileError
from tenfold.lab.parsing import UsageError, read
from tenfold.lab.progress import for_console
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import RunDirectory
from tenfold.lab.study import Study
from tenfold.lab.verbs import FAILED, INTERRUPTED, OK, ResumeOptions, RunOptions, console


def run(name: str, preset: str, arguments: list[str], command: str) -> int:
    """`tenfold run`: one study or all of them, then their report."""
    studies = [registry.load(n) for n in (registry.names() if name == "all" else [name])]
    parsed = [_parsed(study, preset, arguments, name == "all") for study in studies]
    start, how = time.monotonic(), _how("run", parsed[0][0])
    directories = [
        _prepared(study, preset, *options, command.replace("run all", f"run {study.name}", 1))
        for study, options in zip(studies, parsed)
    ]
    endings = []
    for study, directory in zip(studies, directories):
        endings.append(_measured(study, directory, how))
        if endings[-1].state == "interrupted":
            return INTERRUPTED
    _show(
        [d.path for d in directories], parsed[0][0].out / "report.html" if name == "all" else None
    )
    console().print(f"{_elapsed(start)} in all", highlight=False)
    return _exit_code(endings)


def _parsed(study: Study, preset: str, arguments: list[str], all_studies: bool):
    if preset not in study.presets:
        raise UnknownName(f"preset of {study.name}", preset, study.presets)
    if all_studies:
        return read(RunOptions, arguments, verb="run all"), study.presets[preset].config
    default = study.presets[preset].config
    both = dataclasses.make_dataclass(
        "Both", [("options", RunOptions), ("config", type(default))], frozen=True
    )
    verb = f"run {study.name} {preset}"
    found: Any = read(both, arguments, verb=verb, default=both(RunOptions(), default))
    return found.options, found.config


def _how(verb: str, options: RunOptions | ResumeOptions) -> Options:
    """What the engine needs to know, checked."""
    fresh = isinstance(options, RunOptions) and options.fresh
    if fresh and options.keep:
        raise UsageError(f"{verb}: --fresh and --keep exclude each other")
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"{verb}: --workers must be at least 1, got {options.workers}")
    if not options.checkpoint_seconds >= 0:
        seconds = options.checkpoint_seconds
        raise UsageError(f"{verb}: --checkpoint-seconds must be at least 0, got {seconds:g}")
    changed: Any = "fresh" if fresh else "keep" if options.keep else "refuse"
    return Options(options.workers, options.checkpoint_seconds, changed)


def _prepared(
    study: Study, preset: str, options: RunOptions, config: Any, command: str
) -> RunDirectory:
    if options.seeds is not None and options.seeds < 1:
        raise UsageError(f"run: --seeds must be at least 1, got {options.seeds}")
    seeds = range(options.seeds or study.presets[preset].seeds)
    return engine.prepare(
        study, preset, config, seeds, options.out, command, sabotage=options.sabotage,
        options=_how("run", options),
    )  # fmt: skip


def _measured(study: Study, directory: RunDirectory, how: Options) -> Outcome:
    """Measures, and concludes unless it was interrupted."""
    # The engine hears Ctrl-C while it measures. One more just after that must not cut off the line
    # that tells how to go on, nor the way out.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupted = False
    try:
        outcome = engine.execute(study, directory, how, for_console(console()))
        interrupted = outcome.state == "interrupted"
    finally:
        if not interrupted:
            signal.signal(signal.SIGINT, before)
    if interrupted:
        _say_how_to_go_on(directory)
    else:
        outcome.errors.update(conclude(study, directory))
    return outcome


def resume(options: ResumeOptions) -> int:
    """`tenfold resume DIR`."""
    how, directory = _how("resume", options), RunDirectory(options.directory)
    study = registry.load(directory.header()["study"])
    if how.if_changed == "refuse" and engine.source_changed(study, directory):
        raise RunError(
            f"the source of {study.name} changed since {directory.path} was run: --keep goes on "
            "all the same; `tenfold run ... --fresh` starts over"
        )
    outcome = _measured(study, directory, how)
    if outcome.state == "interrupted":
        return INTERRUPTED
    _show([directory.path], None)
    return _exit_code([outcome])


def report_runs(directories: list[Path], out: Path) -> int:
    """`tenfold report`: judges and draws again from what was measured."""
    chosen = directories or newest_runs(out)
    if not chosen:
        raise FileError(f"there is no finished run below {out}; try: tenfold run all")
    errors = {}
    for directory in map(RunDirectory, chosen):
        errors |= conclude(registry.load(directory.header()["study"]), directory)
    single = chosen[0] / "report.html" if len(chosen) == 1 and directories else None
    _show(chosen, single or out / "report.html")
    return _told(errors)


def _show(directories: list[Path], page: Path | None) -> None:
    """The claims table and the page of these runs."""
    records = [report.read_run(path) for path in directories]
    target = page or directories[0] / "report.html"
    report.write(records, target)
    out = console()
    report.print_claims(records, out)
    out.print(f"report: {target}", highlight=False, soft_wrap=True)


def _say_how_to_go_on(directory: RunDirectory) -> None:
    path = shlex.quote(str(directory.path))
    console().print(f"interrupted; go on with: tenfold resume {path}", highlight=False,
                    markup=False, soft_wrap=True)  # fmt: skip


def _exit_code(outcomes: list[Outcome]) -> int:
    told = [_told(outcome.errors) for outcome in outcomes]
    return FAILED if any(o.state == "failed" for o in outcomes) else max(told)


def _told(errors: Mapping[str, str]) -> int:
    """Prints what failed, at the end, where it is seen."""
    for what, error in errors.items():
        line = f"failed: {what}: {error}"
        console().print(line, highlight=False, markup=False, soft_wrap=True)
    return FAILED if errors else OK


def _elapsed(start: float) -> str:
    seconds = time.monotonic() - start
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
