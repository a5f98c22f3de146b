"""Run directories as the engine writes them, with claims whose numbers are given by hand."""

import json
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tenfold.lab import figures
from tenfold.lab.claim import Claim, judge

ENVIRONMENT = {
    "machine": "x86_64, Intel(R) Xeon(R) Processor @ 2.60GHz",
    "cores": 2,
    "memory_gb": 23,
    "python": "3.11.7",
    "versions": {"jax": "0.10.2", "equinox": "0.13.8", "diffrax": "0.7.2"},
    "threads": 1,
}
ARMS = {
    "R_2": "speed regularised, order 2",
    "none": "no regularisation",
    "kinetic": "kinetic-energy regularisation (RNODE)",
}


def claim(name: str = "taylor/nfe", **changes) -> Claim:
    fields = {
        "id": name,
        "says": "Regularised dynamics need far fewer evaluations than unregularised ones",
        "where": "section 6.1, table 1",
        "metric": "nfe",
        "arm": "R_2",
        "against": "none",
        "direction": "lower",
        "tolerance": 0.33,
        "compare": "ratio",
        "sabotage": "penalty-off",
    }
    return Claim(**{**fields, **changes})


def judged(claim: Claim, values: list[float], against: list[float] | float) -> dict:
    """A claim as it stands in claims.json."""
    here = dict(enumerate(values))
    there = dict(enumerate(against)) if isinstance(against, list) else against
    verdict = asdict(judge(claim, here, there))
    record = {**asdict(claim), **verdict, "values": here, "against_values": there}
    return json.loads(json.dumps(_strict(record)))


def _strict(value):
    if isinstance(value, dict):
        return {str(key): _strict(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


CLAIMS = (
    judged(claim(paper=(95.0, 183.0)), [41.0, 44.0, 38.0], [92.0, 88.0, 86.0]),
    judged(
        claim(
            "taylor/loss",
            says="The price is small: the test loss rises by less than 0.05 nats",
            where="section 6.2",
            metric="test_loss",
            tolerance=-0.05,
            compare="difference",
            scale="a synthetic 2-D density instead of MINIBOONE",
        ),
        [0.512, 0.534, 0.571],
        [0.480, 0.493, 0.502],
    ),
    judged(
        claim(
            "taylor/exact",
            says="Taylor mode equals nested derivatives to rounding error",
            metric="relative_error",
            against=0.0,
            direction="near",
            tolerance=1e-5,
            compare="difference",
            sabotage="wrong-coefficient",
        ),
        [2.1e-7, 1.9e-7, 2.4e-7],
        0.0,
    ),
    judged(
        claim(
            "taylor/cost",
            says="At equal accuracy, training is faster than with the kinetic penalty",
            metric="train_seconds",
            against="kinetic",
            tolerance=0.0,
        ),
        [61.0, 58.0, 66.0],
        [52.0, 49.0, 50.0],
    ),
)


def write_run(root: Path, *, study: str = "taylor", preset: str = "small", **changes) -> Path:
    """Writes a finished run of three arms and three seeds; `changes` replace parts of it."""
    run = root / study / f"{preset}-{changes.get('hash', '1a2b3c4d')}"
    run.mkdir(parents=True)
    config = {
        "study": study,
        "preset": preset,
        "seeds": [0, 1, 2],
        "config": {"steps": 500, "order": 2, "solver": "dopri5", "weight": 0.01},
        "command": f"tenfold run {study} {preset}",
        "sabotage": None,
        "environment": ENVIRONMENT,
        "git": "abc1234",
        "created": "2026-11-24T03:40:00+00:00",
        "overrides": {},
    } | changes.get("config", {})
    results = {
        "claims": list(changes.get("claims", CLAIMS)),
        "paper": changes.get("paper", PAPER),
        "differences": changes.get("differences", DIFFERENCES),
        "arms": ARMS,
    }
    status = {"state": "done", "units": units()} | changes.get("status", {})
    for name, value in (("config", config), ("status", status), ("claims", results)):
        (run / f"{name}.json").write_text(json.dumps(value))
    if changes.get("figures", True):
        draw(run / "figures", changes.get("caption", CAPTION))
    return run


PAPER = {
    "package": "taylor",
    "title": "Learning Differential Equations that are Easy to Solve",
    "arxiv": "2007.04504",
    "headline": "learned dynamics that need far fewer solver steps at nearly the same accuracy",
}
DIFFERENCES = [
    "The data are 1,797 real 8x8 digits, not MNIST.",
    "Adam for 500 steps instead of 160 epochs of SGD; the same budget for all arms.",
]
CAPTION = "Evaluations of the field against test loss, one point a weight of the penalty."


def units() -> dict:
    names = [(arm, seed) for arm in ARMS for seed in range(3)]
    return {
        f"{arm}-{seed}": {
            "arm": arm,
            "seed": seed,
            "state": "done",
            "seconds": 12.34 + seed,
            "error": None,
        }
        for arm, seed in names
    }


@cache
def drawings() -> dict[str, str]:
    """The files of two figures, drawn once: what the reader sees of them is always the same."""
    with TemporaryDirectory() as folder:
        _draw(Path(folder))
        return {path.name: path.read_text() for path in Path(folder).iterdir()}


def draw(directory: Path, caption: str) -> None:
    directory.mkdir()
    for name, text in drawings().items():
        (directory / name).write_text(text)
    entries = [{"name": "tradeoff", "caption": caption}, {"name": "bars", "caption": "By arm."}]
    (directory / "figures.json").write_text(json.dumps(entries))


def _draw(directory: Path) -> None:
    weights = np.linspace(0, 1, 12)
    columns = {"weight": weights, "R_2": 90 * np.exp(-weights), "none": [90.0], "K": weights * 50}
    with figures.style():
        figure = figures.new(ncols=2)
        left, right = figure.axes
        left.plot(weights, columns["R_2"], marker="o", label="R_2")
        left.plot(weights, 90 - columns["K"], label="kinetic")
        left.axhline(90, color=figures.GREY, linestyle=":", linewidth=1)
        left.set(xlabel="penalty weight", ylabel="evaluations", title="Cost")
        left.legend()
        right.fill_between(weights, 10**weights, 12**weights, alpha=0.25, linewidth=0)
        right.semilogy(weights, 11**weights)
        right.set(xlabel="time $t$", ylabel="loss", title="Loss")
    figures.save(figure, columns, "tradeoff", directory)
    with figures.style():
        single = figures.new()
        single.axes[0].bar(["R_2", "none", "kinetic"], [41, 89, 60], color=figures.PALETTE[:3])
        single.axes[0].set(ylabel="evaluations", title="Evaluations per solve")
    figures.save(single, {"arm": list(ARMS), "nfe": [41, 89, 60]}, "bars", directory)
