import json
import math
import subprocess
import sys

import pytest
from fake_runs import claim, judged, units, write_run

from tenfold.lab import report


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = report.read_run(write_run(tmp_path))
    assert (run.study, run.preset, run.state, run.seeds) == ("taylor", "small", "done", (0, 1, 2))
    assert [record.claim.id for record in run.claims][:2] == ["taylor/nfe", "taylor/loss"]
    assert run.claims[0].claim.paper == (95.0, 183.0)
    assert run.claims[0].verdict.outcome == "holds"
    assert run.claims[0].values == {0: 41.0, 1: 44.0, 2: 38.0}
    assert run.claims[2].against == 0.0
    assert [figure.name for figure in run.figures] == ["tradeoff", "bars"]
    assert run.figures[0].columns == ("weight", "R_2", "none", "K")
    assert len(run.figures[0].rows) == 12
    assert run.unfinished == ()


def test_nulls_are_infinite_intervals_and_values_that_are_not_finite(tmp_path):
    one = judged(claim(), [1.0], [2.0])
    broken = judged(claim("taylor/broken"), [math.nan, 1.0, math.inf], [2.0, 2.0, 2.0])
    first, second = report.read_run(write_run(tmp_path, claims=[one, broken])).claims
    assert (first.verdict.low, first.verdict.high) == (-math.inf, math.inf)
    assert first.verdict.mean == -0.5
    assert math.isnan(second.verdict.mean)
    assert math.isnan(second.values[0])
    assert second.values[1] == 1.0


def test_a_run_that_is_not_done_needs_no_claims(tmp_path):
    unfinished = units()
    unfinished["none-1"]["state"] = "pending"
    path = write_run(tmp_path, status={"state": "running", "units": unfinished})
    (path / "claims.json").unlink()
    run = report.read_run(path)
    assert (run.claims, run.paper.title) == ((), "taylor")
    assert [(unit.arm, unit.seed) for unit in run.unfinished] == [("none", 1)]


@pytest.mark.parametrize(
    "name",
    ["config.json", "status.json", "claims.json", "figures/tradeoff.svg", "figures/bars.csv"],
)
def test_a_missing_file_is_named_in_one_line(tmp_path, name):
    path = write_run(tmp_path)
    (path / name).unlink()
    with pytest.raises(report.ReportError) as caught:
        report.read_run(path)
    assert str(caught.value) == f"{path / name} is missing"


@pytest.mark.parametrize("name", ["config.json", "status.json", "claims.json", "figures/bars.svg"])
@pytest.mark.parametrize("text", ['{"a":\n', "[1]", "{}", "\x00", '"text"', ""])
def test_a_corrupt_file_is_named_in_one_line(tmp_path, name, text):
    path = write_run(tmp_path)
    (path / name).write_text(text)
    with pytest.raises(report.ReportError) as caught:
        report.read_run(path)
    assert str(caught.value).startswith(f"{path / name} is corrupt: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("says", 3, "'says' must be str, not int"),
        ("outcome", "perhaps", "'outcome' must be one of holds, fails, unclear, not 'perhaps'"),
        ("metric", None, "'metric' is missing"),
        ("tolerance", "0.1", "'tolerance' must be int or float, not str"),
        ("tolerance", True, "'tolerance' must be int or float, not bool"),
        ("paper", [1.0], "two numbers"),
        ("values", {"zero": 1.0}, "invalid literal"),
        ("mean", 10**400, "int too large"),
    ],
)
def test_a_wrong_field_of_a_claim_is_named(tmp_path, key, value, message):
    path = write_run(tmp_path, claims=[{**judged(claim(), [1.0], [2.0]), key: value}])
    with pytest.raises(report.ReportError, match=message):
        report.read_run(path)


@pytest.mark.parametrize("name", ["../status", "/etc/passwd", "a/b", ""])
def test_a_figure_cannot_name_a_file_elsewhere(tmp_path, name):
    path = write_run(tmp_path)
    (path / "figures" / "figures.json").write_text(json.dumps([{"name": name, "caption": ""}]))
    with pytest.raises(report.ReportError, match="is no file name"):
        report.read_run(path)


def test_a_folder_that_is_not_there_is_said_to_be_no_run(tmp_path):
    with pytest.raises(report.ReportError, match="is not a run directory"):
        report.read_run(tmp_path / "nowhere")


def test_importing_the_report_imports_neither_jax_nor_matplotlib():
    program = (
        "import sys, tenfold.lab.report;"
        "assert not {'jax', 'matplotlib', 'scipy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
