"""The verbs that need a study: run, resume, report."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from tenfold.lab import engine, registry, report
from tenfold.lab.engine import Options, Outcome, RunError
from tenfold.lab.files import FileError
from tenfold.lab.parsing import UsageError, read
from tenfold.lab.progress import for_console
from tenfold.lab.registry import UnknownName
from tenfold.lab.rundir import RunDirectory, source_digest
from tenfold.lab.study import Study
from tenfold.lab.verbs import FAILED, INTERRUPTED, OK, ResumeOptions, RunOptions, console


def run(name: str, preset: str, arguments: list[str], command: str) -> int:
    """`tenfold run`: one study or all of them, then their report."""
    chosen = registry.names() if name == "all" else [name]
    studies = [registry.load(n) for n in chosen]
    parsed = [_parsed(study, preset, arguments, name == "all") for study in studies]
    start, outcomes = time.monotonic(), []
    for study, (options, config) in zip(studies, parsed):
        own = command.replace("run all", f"run {study.name}", 1)
        outcomes.append(_run_one(study, preset, options, config, own))
        if outcomes[-1].state == "interrupted":
            return _interrupted(outcomes[-1], parsed[0][0].out)
    directories = [outcome.directory.path for outcome in outcomes]
    page = None if name != "all" else parsed[0][0].out / "report.html"
    _show(directories, page)
    console().print(f"{engine.elapsed(start)} in all", highlight=False)
    return _exit_code(outcomes)


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


def _run_one(study: Study, preset: str, options: RunOptions, config: Any, command: str) -> Outcome:
    if options.fresh and options.keep:
        raise UsageError("run: --fresh and --keep exclude each other")
    if options.seeds is not None and options.seeds < 1:
        raise UsageError(f"run: --seeds must be at least 1, got {options.seeds}")
    how = Options(
        workers=options.workers,
        checkpoint_seconds=options.checkpoint_seconds,
        if_changed="fresh" if options.fresh else "keep" if options.keep else "ask",
    )
    seeds = range(options.seeds or study.presets[preset].seeds)
    directory = engine.prepare(
        study, preset, config, seeds, options.out, command, sabotage=options.sabotage, options=how
    )
    return _executed(study, directory, how)


def _executed(study: Study, directory: RunDirectory, options: Options) -> Outcome:
    outcome = engine.execute(study, directory, options, for_console(console()))
    if outcome.state != "interrupted":
        engine.conclude(study, directory)
    return outcome


def resume(options: ResumeOptions) -> int:
    """`tenfold resume DIR`."""
    directory = RunDirectory(options.directory)
    header = directory.header()
    study = registry.load(header["study"])
    if header.get("source") != source_digest(study.name) and not options.keep:
        raise RunError(
            f"the source of {study.name} changed since {directory.path} was run: --keep goes on "
            "all the same; `tenfold run ... --fresh` starts over"
        )
    how = Options(workers=options.workers, checkpoint_seconds=options.checkpoint_seconds)
    outcome = _executed(study, directory, how)
    if outcome.state == "interrupted":
        return _interrupted(outcome, directory.path)
    _show([directory.path], None)
    return _exit_code([outcome])


def report_runs(directories: list[Path], out: Path) -> int:
    """`tenfold report`: judges and draws again from what was measured."""
    chosen = directories or engine.newest_runs(out)
    if not chosen:
        raise FileError(f"there is no finished run below {out}; try: tenfold run all")
    for path in chosen:
        directory = RunDirectory(path)
        engine.conclude(registry.load(directory.header()["study"]), directory)
    single = chosen[0] / "report.html" if len(chosen) == 1 and directories else None
    _show(chosen, single or out / "report.html")
    return OK


def _show(directories: list[Path], page: Path | None) -> None:
    """The claims table and the page of these runs."""
    records = [report.read_run(path) for path in directories]
    target = page or directories[0] / "report.html"
    report.write(records, target)
    out = console()
    report.print_claims(records, out)
    out.print(f"report: {target}", highlight=False, soft_wrap=True)


def _interrupted(outcome: Outcome, out: Path) -> int:
    del out
    path = outcome.directory.path
    console().print(f"interrupted; go on with: tenfold resume {path}", highlight=False,
                    soft_wrap=True)  # fmt: skip
    return INTERRUPTED


def _exit_code(outcomes: list[Outcome]) -> int:
    for outcome in outcomes:
        for unit, error in outcome.errors.items():
            console().print(f"failed: {unit}: {error}", highlight=False, soft_wrap=True)
    return FAILED if any(outcome.state == "failed" for outcome in outcomes) else OK
