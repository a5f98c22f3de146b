"""What a run directory takes in and gives back, and what it says when somebody edited it."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from tenfold.lab.files import FileError, append_jsonl
from tenfold.lab.rundir import RunDirectory, config_hash, fields_hash, restored_config


@dataclass(frozen=True)
class Config:
    steps: int = 3
    rate: float = 0.5
    weights: tuple[float, ...] = (0.1, 0.2)


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "run")


HEADER = {"study": "s", "preset": "small", "config": {}, "seeds": [0], "environment": {}}


def test_metrics_come_back_with_every_bit(directory):
    """Numbers of any library; what is not finite comes back as nan."""
    metrics = {
        "float": 0.1 + 0.2,
        "numpy": np.float32(0.1),
        "int": 3,
        "array": np.array([1 / 3, np.nan, np.inf]),
        "rows": ((1.0, 2.0), (3.0, 4.0)),
        "nan": math.nan,
    }
    directory.write_result("a", 0, metrics, 1.5)
    found = directory.read_result("a", 0)
    assert found["seconds"] == 1.5
    assert found["metrics"]["float"] == 0.1 + 0.2
    assert found["metrics"]["numpy"] == float(np.float32(0.1))
    assert found["metrics"]["int"] == 3.0
    np.testing.assert_array_equal(found["metrics"]["array"], [1 / 3, np.nan, np.nan])
    assert found["metrics"]["rows"] == [[1.0, 2.0], [3.0, 4.0]]
    assert math.isnan(found["metrics"]["nan"])


@pytest.mark.parametrize("value", ["fast", None, {"a": 1}, object(), ["a"]])
def test_a_metric_that_is_no_number_is_refused_by_name(directory, value):
    with pytest.raises(ValueError, match=r"the metric 'odd' is .*, not a number"):
        directory.write_result("a", 0, {"good": 1.0, "odd": value}, 1.0)
    assert not directory.finished("a", 0)


@pytest.mark.parametrize("content", ["{}", "[]", "7", '{"metrics": 3, "seconds": 1}', "null",
                                     '{"metrics": {}, "seconds": "long"}'])  # fmt: skip
def test_a_result_that_is_none_says_how_to_measure_it_again(directory, content):
    directory.write_result("a", 0, {}, 1.0)
    file = directory.result_file("a", 0)
    file.write_text(content)
    with pytest.raises(FileError) as error:
        directory.read_result("a", 0)
    assert str(error.value) == f"{file} is no result; delete it to measure that unit again"


@pytest.mark.parametrize("missing", list(HEADER))
def test_a_header_without_its_parts_is_no_runs(directory, missing):
    directory.write_header({k: v for k, v in HEADER.items() if k != missing})
    with pytest.raises(FileError, match=rf"config\.json is no run's: '{missing}' is missing"):
        directory.header()


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null", '{"study": 3}'])
def test_a_header_of_another_kind_is_no_runs(directory, content):
    directory.write_header(HEADER)
    (directory.path / "config.json").write_text(content)
    with pytest.raises(FileError, match=r"config\.json is no run's: 'study' is missing"):
        directory.header()


def test_an_empty_folder_holds_no_run(directory):
    assert not directory.begun
    with pytest.raises(FileError, match=r"run holds no run: config\.json is missing"):
        directory.header()


def test_the_hash_is_that_of_config_and_sabotage():
    """As Python has them and as config.json has them: tuples are lists there."""
    config = Config()
    stored = json.loads(json.dumps({"weights": [0.1, 0.2], "steps": 3, "rate": 0.5}))
    assert config_hash(config, None) == fields_hash(stored, None)
    assert len({config_hash(config, s) for s in (None, "off", "on")}) == 3
    assert config_hash(Config(steps=4), None) != config_hash(config, None)


def test_a_config_comes_back_from_the_header(tiny):
    config = tiny.presets["small"].config
    header = {"config": {"steps": 7, "trouble": "nan", "rate": 0.5, "scales": [1.0, 2.0]}}
    found = restored_config(tiny, header)
    assert type(found) is type(config)
    assert (found.steps, found.scales) == (7, (1.0, 2.0))


@pytest.mark.parametrize(
    "fields", [{"steps": 7}, {"steps": 1, "trouble": "", "rate": 1, "scale": 1}]
)
def test_a_config_of_another_version_of_the_study_is_refused(tiny, fields):
    with pytest.raises(FileError, match=r"doesn't fit this version of the study: .*scales"):
        restored_config(tiny, {"config": fields})


def test_of_a_step_done_again_the_last_record_counts(directory):
    directory.write_header(HEADER)
    for value, step in ((1.0, 5), (2.0, 10), (3.0, 5)):
        append_jsonl(directory.metrics_file, {"arm": "a", "seed": 0, "step": step, "loss": value})
    append_jsonl(directory.metrics_file, {"arm": "a", "seed": 1, "step": 5, "loss": 9.0})
    with directory.metrics_file.open("a") as file:
        file.write('{"arm": "a", "seed": 0, "st')
    curve = directory.curve("a", 0)
    assert {step: record["loss"] for step, record in curve.items()} == {5: 3.0, 10: 2.0}
