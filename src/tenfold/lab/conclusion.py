"""What follows the measuring: verdicts, figures, the report."""

import dataclasses
import os
import traceback
from pathlib import Path
from typing import Any

from tenfold.lab.files import write_json, write_text_atomic
from tenfold.lab.rundir import RunDirectory, restored_config
from tenfold.lab.study import Study


def conclude(study: Study, directory: RunDirectory) -> dict[str, str]:
    """Judges the claims of a run, draws its figures and writes its report.

    Returns what could not be drawn, figure -> one line: a slip there shall not hide the verdicts.
    """
    from tenfold.lab import report

    header = directory.header()
    arms = study.arms_of(header.get("sabotage"))
    config = restored_config(study, header)
    results = directory.results(config, list(arms), header["seeds"])
    claims = study.claims_of(header.get("sabotage"))
    judged = [] if header["preset"] == "smoke" else [_judged(c, results) for c in claims]
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
    errors = _draw(study, results, directory.path / "figures")
    report.write([report.read_run(directory.path)], directory.report_file)
    return errors


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


def _draw(study: Study, results, folder: Path) -> dict[str, str]:
    from tenfold.lab import figures

    drawn, errors = [], {}
    for figure in study.figures:
        try:
            with figures.style():
                picture = figure.draw(results)
        except Exception as error:
            log = folder / f"{figure.name}.log"
            write_text_atomic(log, "".join(traceback.format_exception(error)))
            errors[f"figure {figure.name}"] = f"{type(error).__name__}, see {log}"
            continue
        if picture is None:  # what it shows was not measured
            continue
        figures.save(*picture, figure.name, folder)
        drawn.append({"name": figure.name, "caption": figure.caption})
    write_json(folder / "figures.json", drawn)
    return errors


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
