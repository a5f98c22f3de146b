"""`tenfold.lab.load` gives back the model that was trained."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import tenfold.lab
from tenfold.lab.checkpoint import CheckpointError
from tenfold.lab.engine import Options, prepare
from tenfold.lab.files import FileError
from tenfold.lab.registry import UnknownName
from tenfold.lab.run import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("site"),
]


@pytest.fixture
def finished(tiny, tmp_path):
    """A run whose unit (train, 0) is measured; adam wants what a plain interpreter allows."""
    config = dataclasses.replace(tiny.presets["small"].config, steps=4)
    directory = prepare(tiny, "small", config, range(2), tmp_path / "runs", "", options=Options())
    with jax.numpy_dtype_promotion("standard"):
        metrics = tiny.arms["train"].measure(
            config, jax.random.key(0), Run("train", 0, directory.path)
        )
    directory.write_result("train", 0, metrics, 1.0)
    return directory, metrics


def test_the_trained_model_comes_back_with_its_structure(finished):
    """It predicts what the trained one predicted, bit for bit, and works under jit and vmap."""
    directory, metrics = finished
    model = tenfold.lab.load(str(directory.path), "train", 0)
    assert type(model).__name__ == "Line"
    assert float(model.slope) == metrics["value"]
    x = np.linspace(-1, 1, 24, dtype=np.float32)
    np.testing.assert_array_equal(jax.vmap(model)(x), metrics["predictions"])


def test_loading_changes_nothing_in_the_run(finished):
    """Another process may be training there."""
    path = finished[0].path
    (path / "checkpoints" / "train-0" / "9.orbax-checkpoint-tmp").mkdir()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    tenfold.lab.load(path, "train", 0)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_an_unknown_arm_gets_the_nearest(finished):
    with pytest.raises(UnknownName, match="unknown arm 'trian'; did you mean 'train'"):
        tenfold.lab.load(finished[0].path, "trian", 0)


def test_an_arm_without_a_model_says_so(finished):
    with pytest.raises(CheckpointError, match="the arm 'fixed' of tiny trains no model"):
        tenfold.lab.load(finished[0].path, "fixed", 0)


def test_a_unit_that_is_not_finished_is_not_passed_off_as_trained(finished):
    with pytest.raises(CheckpointError, match="train seed 1 is not finished; tenfold resume"):
        tenfold.lab.load(finished[0].path, "train", 1)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileError, match=r"holds no run: config\.json is missing"):
        tenfold.lab.load(tmp_path, "train", 0)


def without_folder(folder):
    shutil.rmtree(folder)


def without_steps(folder):
    shutil.rmtree(folder / "4")


def damaged(folder):
    for file in (folder / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (without_folder, "does not exist"),
        (without_steps, "holds no checkpoint"),
        (damaged, "can't be read: "),
    ],
)
def test_a_checkpoint_that_is_gone_or_damaged_is_one_line(finished, harm, says):
    folder = finished[0].path / "checkpoints" / "train-0"
    harm(folder)
    with pytest.raises(CheckpointError) as error:
        tenfold.lab.load(finished[0].path, "train", 0)
    assert str(error.value).startswith(str(folder))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
