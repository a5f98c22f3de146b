"""What each verb of the command does."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rich.console import Console
from tyro.conf import Positional

from tenfold import __version__, _papers
from tenfold.lab import registry
from tenfold.lab.parsing import UsageError, read
from tenfold.lab.registry import UnknownName

OK, FAILED, INTERRUPTED = 0, 1, 130


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How and where to run; everything else is a field of the study's config."""

    seeds: int | None = None
    """How many seeds; the preset's own number by default."""
    out: Path = Path("runs")
    """Where run directories go."""
    sabotage: str | None = None
    """A negative control of the study: its claims must then fail."""
    workers: int | None = None
    """Worker processes; by default two, where there are two cores."""
    checkpoint_seconds: float = 20.0
    """Time between the checkpoints of a training."""
    fresh: bool = False
    """Where the study's source changed since: set the old run aside and start over."""
    keep: bool = False
    """Where the study's source changed since: go on with what is there."""


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    directory: Positional[Path]
    """The run directory."""
    workers: int | None = None
    checkpoint_seconds: float = 20.0
    keep: bool = False
    """Go on although the study's source changed since."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    directories: Positional[tuple[Path, ...]] = ()
    """Run directories; by default the newest of each study below --out."""
    out: Path = Path("runs")
    """Where run directories are looked for, and the page is written."""


@dataclasses.dataclass(frozen=True)
class Studies:
    studies: Positional[tuple[str, ...]] = ()
    """Names of studies; all by default."""


@dataclasses.dataclass(frozen=True)
class DataOptions:
    action: Positional[Literal["list", "fetch", "check"]]
    names: Positional[tuple[str, ...]] = ()
    """Data sets."""


def dispatch(arguments: list[str]) -> int:
    """Runs the verb that `arguments` begin with; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: tenfold COMMAND ...    (tenfold COMMAND --help says more)\n")
        for name, handler in VERBS.items():
            print(f"  {name:8} {handler.__doc__}")
        return OK
    if arguments[0] == "--version":
        print(f"tenfold {__version__}")
        return OK
    if arguments[0] not in VERBS:
        raise UnknownName("command", arguments[0], [*VERBS, "--help", "--version"])
    return VERBS[arguments[0]](arguments[1:])


def _list(arguments: list[str]) -> int:
    """The studies, and what each paper promises."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(f"usage: tenfold list\n\n{_list.__doc__}")
        return OK
    if arguments:
        raise UsageError(f"list takes no arguments, got {arguments[0]!r}")
    for name in registry.names():
        paper = _papers.PAPERS.get(name)
        if paper is None:
            print(f"{name:12} (from another package)")
        else:
            print(f"{name:12} {paper.headline}\n{'':12} {paper.title}, {paper.url}")
    return OK


def _run(arguments: list[str]) -> int:
    """Measure: run STUDY|all [PRESET] [--seeds N] [--out DIR] [--field value ...]."""
    words = []
    while arguments and not arguments[0].startswith("-") and len(words) < 2:
        words.append(arguments.pop(0))
    if not words:
        if "--help" in arguments or "-h" in arguments:
            print("usage: tenfold run STUDY|all [PRESET] ...   (tenfold run STUDY --help)")
            return OK
        raise UsageError(f"run needs a study: {', '.join(registry.names())}, or all")
    name, preset = words[0], words[1] if len(words) > 1 else "small"
    if name != "all" and name not in registry.names():
        raise UnknownName("study", name, [*registry.names(), "all"])
    from tenfold.lab import running

    return running.run(name, preset, arguments, "tenfold run " + shlex.join(words + arguments))


def _resume(arguments: list[str]) -> int:
    """Go on with a run: resume DIR."""
    options = read(ResumeOptions, arguments, verb="resume")
    from tenfold.lab import running

    return running.resume(options)


def _report(arguments: list[str]) -> int:
    """The claims table and the HTML page: report [DIR ...]."""
    options = read(ReportOptions, arguments, verb="report")
    from tenfold.lab import running

    return running.report_runs(list(options.directories), options.out)


def _cite(arguments: list[str]) -> int:
    """BibTeX: cite [STUDY ...]."""
    studies = read(Studies, arguments, verb="cite").studies
    for name in studies:
        if name not in registry.names():
            raise UnknownName("study", name, registry.names())
    papers = [_papers.PAPERS.get(name) or registry.load(name).paper for name in studies]
    print("\n\n".join(paper.bibtex for paper in papers or _papers.PAPERS.values()))
    return OK


def _data(arguments: list[str]) -> int:
    """Data sets: data list | fetch NAME | check."""
    options = read(DataOptions, arguments, verb="data")
    from tenfold.lab import data

    for name in options.names:
        if name not in data.names():
            raise UnknownName("data set", name, data.names())
    if options.action == "list":
        for row in data.rows():
            print(f"{row.name:15} {row.found:13} {row.says}")
        return OK
    if options.action == "check":
        return _check(options.names)
    if not options.names:
        raise UsageError(f"data fetch needs a name: {', '.join(data.names())}")
    for name in options.names:
        start = time.monotonic()
        for found in data.fetch(name):
            print(f"{name}: {found.path} ({found.verified})")
        print(f"{name}: ready in {time.monotonic() - start:.1f} s")
    return OK


def _check(names: tuple[str, ...]) -> int:
    from tenfold.lab import data

    checks = data.check(list(names))
    if not checks:
        print("no files to check: what was named is installed with a package, or made")
    for check in checks:
        mark = {True: "ok", False: "BAD", None: "-"}[check.ok]
        print(f"{mark:4} {check.name:15} {check.file}: {check.says}")
    return FAILED if any(check.ok is False for check in checks) else OK


def _graphs(arguments: list[str]) -> int:
    """Graphs like yours: graphs fit FOLDER | sample RUN."""
    from tenfold.lab.commands import graphs

    return graphs.main(arguments)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "list": _list, "run": _run, "resume": _resume, "report": _report, "cite": _cite,
    "data": _data, "graphs": _graphs,
}  # fmt: skip


def console() -> Console:
    return Console(file=sys.stdout)
