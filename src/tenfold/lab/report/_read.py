"""A run directory as frozen data; what is missing or corrupt is named in one line."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tenfold._papers import Paper
from tenfold.lab.claim import Claim, Verdict
from tenfold.lab.report._records import ClaimRecord, Environment, FigureRecord, RunRecord, Unit
from tenfold.lab.report._svg import check_svg

T = TypeVar("T")


class ReportError(RuntimeError):
    """A run can't be reported; the message is one line that names the file at fault."""


def read_run(path: Path) -> RunRecord:
    """The run in the directory `path`.

    `claims.json` may be absent only while the run is not done: it then has no claims yet.

    **Raises:** `ReportError`, one line that names the file which is missing or corrupt.
    """
    if not path.is_dir():
        raise ReportError(f"{path} is not a run directory")
    state, units = _load(path / "status.json", _status)
    claims_file = path / "claims.json"
    if state == "done" or claims_file.exists():
        results = _load(claims_file, _results)
    else:
        results = {"paper": None, "arms": {}, "claims": (), "differences": ()}
    head = _load(path / "config.json", _head)
    paper = results.pop("paper") or Paper(head["study"], head["study"], "", "", "")
    figures = _figures(path / "figures")
    return RunRecord(
        directory=path, state=state, units=units, paper=paper, figures=figures, **head, **results
    )


def _load(path: Path, build: Callable[[dict[str, Any]], T]) -> T:
    try:
        value = json.loads(_text(path))
        if not isinstance(value, dict):
            raise ValueError("an object was expected")
        return build(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise _corrupt(path, error) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ReportError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise _corrupt(path, error) from error
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror}") from error


def _corrupt(path: Path, error: Exception) -> ReportError:
    return ReportError(f"{path} is corrupt: {' '.join(str(error).split())}")


_REQUIRED = object()


def _get(data: Any, key: str, *kinds: type, default: Any = _REQUIRED) -> Any:
    """`data[key]`, checked; a null counts as missing."""
    if not isinstance(data, dict):
        raise ValueError(f"an object with {key!r} was expected")
    value = data.get(key)
    if value is None:
        if default is _REQUIRED:
            raise ValueError(f"{key!r} is missing")
        return default
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{key!r} must be {names}, not {type(value).__name__}")
    return value


def _real(data: Any, key: str) -> float | None:
    value = _get(data, key, int, float, default=None)
    return float(value) if value is not None and math.isfinite(value) else None


def _real_or(data: Any, key: str, otherwise: float) -> float:
    value = _real(data, key)
    return otherwise if value is None else value


def _integer(data: Any, key: str) -> int | None:
    value = _real(data, key)
    return None if value is None else int(value)


def _strings(values: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a list of strings was expected")
    return tuple(values)


def _head(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "study": _get(data, "study", str),
        "preset": _get(data, "preset", str),
        "seeds": tuple(int(seed) for seed in _get(data, "seeds", list)),
        "config": _get(data, "config", dict, default={}),
        "command": _get(data, "command", str),
        "sabotage": _get(data, "sabotage", str, default=None),
        "environment": _environment(_get(data, "environment", dict)),
        "git": _get(data, "git", str, default=None),
        "created": _get(data, "created", str),
    }


def _environment(data: dict[str, Any]) -> Environment:
    versions = _get(data, "versions", dict, default={})
    return Environment(
        machine=_get(data, "machine", str, default=""),
        cores=_integer(data, "cores"),
        memory_gb=_real(data, "memory_gb"),
        python=_get(data, "python", str, default=""),
        threads=_integer(data, "threads"),
        versions={str(name): str(version) for name, version in versions.items()},
    )


def _status(data: dict[str, Any]) -> tuple[str, tuple[Unit, ...]]:
    state = _get(data, "state", str)
    units = tuple(_unit(unit) for unit in _get(data, "units", dict).values())
    return state, units


def _unit(data: Any) -> Unit:
    return Unit(
        arm=_get(data, "arm", str),
        seed=_get(data, "seed", int),
        state=_get(data, "state", str),
        seconds=_real(data, "seconds"),
        error=_get(data, "error", str, default=None),
    )


def _results(data: dict[str, Any]) -> dict[str, Any]:
    paper, arms = _get(data, "paper", dict), _get(data, "arms", dict, default={})
    fields = {key: _get(paper, key, str) for key in ("package", "title", "arxiv", "headline")}
    return {
        "paper": Paper(**fields, bibtex=""),
        "arms": {str(name): str(says or "") for name, says in arms.items()},
        "claims": tuple(_claim(claim) for claim in _get(data, "claims", list)),
        "differences": _strings(_get(data, "differences", list, default=[])),
    }


def _claim(data: Any) -> ClaimRecord:
    words = {key: _get(data, key, str) for key in ("id", "says", "where", "metric", "arm")}
    pair = _get(data, "paper", list, tuple, default=None)
    against = _get(data, "against", str, int, float)
    claim = Claim(
        **words,
        against=against if isinstance(against, str) else float(against),
        direction=_one_of(data, "direction", "lower", "higher", "near"),
        tolerance=float(_get(data, "tolerance", int, float)),
        sabotage=_get(data, "sabotage", str, default=""),
        compare=_one_of(data, "compare", "difference", "ratio"),
        paper=None if pair is None else _pair(pair),
        scale=_get(data, "scale", str, default=""),
    )
    return ClaimRecord(claim, _verdict(data), _by_seed(data, "values"), _against(data, claim))


def _one_of(data: Any, key: str, *allowed: str) -> Any:
    value = _get(data, key, str)
    if value not in allowed:
        raise ValueError(f"{key!r} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _pair(pair: Any) -> tuple[float, float]:
    if len(pair) != 2:
        raise ValueError("'paper' must be two numbers, theirs and their baseline")
    return float(pair[0]), float(pair[1])


def _verdict(data: Any) -> Verdict:
    return Verdict(
        outcome=_one_of(data, "outcome", "holds", "fails", "unclear"),
        mean=_real_or(data, "mean", math.nan),
        low=_real_or(data, "low", -math.inf),
        high=_real_or(data, "high", math.inf),
        differences=_by_seed(data, "differences"),
        note=_get(data, "note", str, default=""),
    )


def _against(data: Any, claim: Claim) -> Mapping[int, float] | float:
    if isinstance(claim.against, float):
        return claim.against
    return _by_seed(data, "against_values")


def _by_seed(data: Any, key: str) -> dict[int, float]:
    values = _get(data, key, dict, default={})
    return {int(seed): _real_or(values, seed, math.nan) for seed in sorted(values, key=int)}


def _figures(directory: Path) -> tuple[FigureRecord, ...]:
    index = directory / "figures.json"
    if not index.exists():
        return ()
    try:
        entries = json.loads(_text(index))
        if not isinstance(entries, list):
            raise ValueError("a list was expected")
        names = [(_name(entry), _get(entry, "caption", str, default="")) for entry in entries]
    except (ValueError, TypeError) as error:
        raise _corrupt(index, error) from error
    return tuple(_figure(directory, name, caption) for name, caption in names)


def _name(entry: Any) -> str:
    name = _get(entry, "name", str)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"{name!r} is no file name")
    return name


def _figure(directory: Path, name: str, caption: str) -> FigureRecord:
    drawing = directory / f"{name}.svg"
    svg = _text(drawing)
    try:
        check_svg(svg)
    except ValueError as error:
        raise _corrupt(drawing, error) from error
    header, *rows = _table(directory / f"{name}.csv")
    return FigureRecord(name, caption, svg, header, tuple(rows))


def _table(path: Path) -> list[tuple[str, ...]]:
    try:
        rows = [tuple(row) for row in csv.reader(io.StringIO(_text(path)), strict=True)]
    except csv.Error as error:
        raise _corrupt(path, error) from error
    return rows or [()]
