"""From results to verdicts, figures and the report, also when some of it is missing."""

import dataclasses
import json
import os

import numpy as np
import pytest

from tenfold.lab import Figure
from tenfold.lab.conclusion import conclude, newest_runs
from tenfold.lab.engine import Options, prepare

VALUES = {0: 1.0, 1: 1.1, 2: 1.2}


@pytest.fixture
def measured(tiny, tmp_path):
    """`measured(preset, values)`: a run whose arm `fragile` gave these values, seed by seed."""

    def make(preset="small", values=VALUES, sabotage=None, state="done"):
        config = tiny.presets[preset].config
        directory = prepare(tiny, preset, config, [0, 1, 2], tmp_path / "runs", "tenfold run tiny",
                            sabotage=sabotage, options=Options())  # fmt: skip
        for seed, value in values.items():
            directory.write_result("fragile", seed, {"value": value}, 1.0)
        unit = {"arm": "fragile", "seed": 0, "state": state, "seconds": 1.0, "error": None}
        directory.write_status(state, {"fragile-0": unit})
        return directory

    return make


def claims(directory):
    return json.loads((directory.path / "claims.json").read_text())


def test_every_number_behind_a_verdict_is_written(tiny, measured):
    directory = measured()
    assert conclude(tiny, directory) == {}
    written = claims(directory)
    (claim,) = written["claims"]
    assert (claim["id"], claim["outcome"], claim["note"]) == ("tiny/more", "holds", "")
    assert claim["values"] == {"0": 1.0, "1": 1.1, "2": 1.2}
    assert claim["against_values"] == 0.5
    np.testing.assert_allclose([claim["differences"][s] for s in "012"], [0.5, 0.6, 0.7])
    assert claim["low"] < claim["mean"] < claim["high"]
    assert written["paper"]["title"] == "A paper of somebody else"
    assert written["arms"]["train"] == "a line, fitted"
    assert "tiny/more" in directory.report_file.read_text()


def test_smoke_is_not_judged(tiny, measured):
    directory = measured("smoke")
    conclude(tiny, directory)
    assert claims(directory)["claims"] == []


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ({0: 1.0, 1: 1.1}, "2 of at least 3 seeds"),
        ({}, "0 of at least 3 seeds"),
        ({0: 1.0, 1: float("nan"), 2: 1.2}, "a measured value is not finite"),
    ],
)
def test_what_is_missing_leaves_a_claim_unclear(tiny, measured, values, note):
    """Infinite intervals and absent means are written as null."""
    directory = measured(values=values, state="failed")
    conclude(tiny, directory)
    (claim,) = claims(directory)["claims"]
    assert (claim["outcome"], claim["note"]) == ("unclear", note)
    assert directory.report_file.exists()


def test_a_sabotaged_run_is_judged_as_such(tiny, measured):
    """With its own arms; here the values are those of the broken method."""
    directory = measured(values=dict.fromkeys(range(3), 0.25), sabotage="switched-off")
    conclude(tiny, directory)
    assert claims(directory)["claims"][0]["outcome"] == "fails"


def bars(results):
    from tenfold.lab.figures import new

    figure = new()
    figure.axes[0].bar(["fragile"], [results.mean("fragile", "value")])
    return figure, {"arm": ["fragile"], "value": [results.mean("fragile", "value")]}


def broken(results):
    raise KeyError("an arm that is not there")


def test_a_figure_that_fails_hides_neither_verdicts_nor_other_figures(tiny, measured):
    """It is told by name; the details are kept beside the figures."""
    directory = measured()
    study = dataclasses.replace(
        tiny,
        figures=(
            Figure("bad", "", broken),
            Figure("absent", "", lambda results: None),
            Figure("good", "Bars.", bars),
        ),
    )
    log = directory.path / "figures" / "bad.log"
    assert conclude(study, directory) == {"figure bad": f"KeyError, see {log}"}
    assert "an arm that is not there" in log.read_text()
    drawn = json.loads((directory.path / "figures" / "figures.json").read_text())
    assert drawn == [{"name": "good", "caption": "Bars."}]
    assert claims(directory)["claims"][0]["outcome"] == "holds"
    assert "Bars." in directory.report_file.read_text()


def test_the_newest_run_of_a_study_is_reported(tiny, measured, tmp_path):
    """Smoke runs, controls, runs set aside and unfinished ones are left out."""
    kept = measured()
    others = [measured("smoke"), measured(sabotage="switched-off"), measured("paper")]
    for age, directory in enumerate([*others, kept]):
        conclude(tiny, directory)
        os.utime(directory.path / "claims.json", (1e9 + age, 1e9 + age))
    assert newest_runs(tmp_path / "runs") == [kept.path]
    aside = kept.path.rename(kept.path.with_name(f"{kept.path.name}.old1"))
    assert newest_runs(tmp_path / "runs") == [others[2].path]
    assert aside.exists()
    (others[2].path / "claims.json").unlink()
    assert newest_runs(tmp_path / "runs") == []
