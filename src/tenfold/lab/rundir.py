"""A run on disk: where everything lies, and which units are finished."""

import dataclasses
import datetime
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tenfold.lab import registry
from tenfold.lab.files import FileError, read_json, read_jsonl, write_json
from tenfold.lab.results import Results
from tenfold.lab.study import Study


def config_hash(config: Any, sabotage: str | None) -> str:
    """Eight hex digits that name a config; the seeds are not in it, so more can be added later."""
    return fields_hash(dataclasses.asdict(config), sabotage)


def fields_hash(fields: Mapping[str, Any], sabotage: str | None) -> str:
    """`config_hash` of a config as config.json has it."""
    named = {**fields, **({"sabotage": sabotage} if sabotage else {})}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]


def source_digest(study: str) -> str:
    """Digest of the code that a study's numbers come from: its package, base, nets, the study.

    The study of another distribution may sit in a package of its own; all of that counts.
    """
    root = Path(__file__).parents[1]
    folders = [root / study, root / "base", root / "nets"]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    files += [*_study_files(study), root / "lab" / "train.py", root / "lab" / "selecting.py"]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _study_files(study: str) -> list[Path]:
    """The study's module and its private helpers (`_<study>_*.py`), or its whole package."""
    module = registry.module_of(study)
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return []
    file = Path(spec.origin)
    if module.startswith("tenfold.") or (file.name != "__init__.py" and "." not in module):
        return [file, *sorted(file.parent.glob(f"_{study}_*.py"))]
    return sorted(file.parent.rglob("*.py"))


def unit_name(arm: str, seed: int) -> str:
    return f"{arm}-{seed}"


_HEADER = {"study": str, "preset": str, "config": dict, "seeds": list, "environment": dict}


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """`runs/<study>/<preset>-<hash>/` and what it holds."""

    path: Path

    @property
    def begun(self) -> bool:
        return (self.path / "config.json").exists()

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def result_file(self, arm: str, seed: int) -> Path:
        return self.path / "results" / f"{unit_name(arm, seed)}.json"

    def checkpoints(self, arm: str, seed: int) -> Path:
        return self.path / "checkpoints" / unit_name(arm, seed)

    def header(self) -> dict[str, Any]:
        """config.json.

        **Raises:** `FileError` when there is none, or it isn't a run's.
        """
        file = self.path / "config.json"
        if not self.begun:
            raise FileError(f"{self.path} holds no run: {file.name} is missing")
        header = read_json(file)
        for name, kind in _HEADER.items():
            if not isinstance(header, dict) or not isinstance(header.get(name), kind):
                raise FileError(f"{file} is no run's: {name!r} is missing, or no {kind.__name__}")
        return header

    def write_header(self, header: Mapping[str, Any]) -> None:
        write_json(self.path / "config.json", header)

    def finished(self, arm: str, seed: int) -> bool:
        return self.result_file(arm, seed).exists()

    def write_result(self, arm: str, seed: int, metrics: Mapping[str, Any], seconds: float):
        record = {"metrics": {k: _plain(k, v) for k, v in metrics.items()}, "seconds": seconds}
        write_json(self.result_file(arm, seed), record)

    def read_result(self, arm: str, seed: int) -> dict[str, Any]:
        file = self.result_file(arm, seed)
        record = read_json(file)
        try:
            metrics = {k: _restored(v) for k, v in record["metrics"].items()}
            return {"metrics": metrics, "seconds": float(record["seconds"])}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FileError(f"{file} is no result; delete it to measure that unit again") from error

    def results(self, config: Any, arms: Sequence[str], seeds: Sequence[int]) -> Results:
        """The metrics of every finished unit among `arms` x `seeds`."""
        metrics = {
            arm: {s: self.read_result(arm, s)["metrics"] for s in seeds if self.finished(arm, s)}
            for arm in arms
        }
        return Results(config, metrics)

    def curve(self, arm: str, seed: int) -> dict[int, dict[str, Any]]:
        """What the arm recorded, by step; of a step done again after a resume, the last."""
        records = read_jsonl(self.metrics_file)
        return {r["step"]: r for r in records if (r.get("arm"), r.get("seed")) == (arm, seed)}

    def write_status(self, state: str, units: Mapping[str, Mapping[str, Any]]) -> None:
        write_json(self.path / "status.json", {"state": state, "units": dict(units)})


def _plain(name: str, value: Any) -> Any:
    """A metric as JSON: a float or a list of floats, `null` for what is not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(name, v) for v in value]
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"the metric {name!r} is {value!r:.50}, not a number") from None
    return value if math.isfinite(value) else None


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return math.nan if value is None else value


def new_header(
    study: Study,
    preset: str,
    config: Any,
    seeds: Sequence[int],
    *,
    sabotage: str | None,
    command: str,
    environment: Mapping[str, Any],
    commit: str | None,
) -> dict[str, Any]:
    default = dataclasses.asdict(study.presets[preset].config)
    chosen = dataclasses.asdict(config)
    return {
        "study": study.name,
        "preset": preset,
        "seeds": list(seeds),
        "config": chosen,
        "overrides": {k: v for k, v in chosen.items() if v != default[k]},
        "sabotage": sabotage,
        "command": command,
        "environment": dict(environment),
        "git": commit,
        "source": source_digest(study.name),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def restored_config(study: Study, header: Mapping[str, Any]) -> Any:
    """The Config that config.json holds.

    **Raises:** `FileError` when the study's fields are no longer those of the file.
    """
    kind = type(next(iter(study.presets.values())).config)
    fields = {f.name for f in dataclasses.fields(kind)}
    stored = header["config"]
    if set(stored) != fields:
        odd = sorted(set(stored) ^ fields)
        raise FileError(f"the run's config doesn't fit this version of the study: {', '.join(odd)}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})


def units_of(study: Study, header: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Every (arm, seed) of the run."""
    arms = study.arms_of(header.get("sabotage"))
    return [(name, seed) for name in arms for seed in header["seeds"]]
