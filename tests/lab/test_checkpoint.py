"""A checkpoint gives back every bit, and a damaged one is noticed, named and set aside."""

import errno
import gc
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tenfold.lab.checkpoint import CheckpointError, Checkpoints

# A read that fails in Orbax leaves futures of a closed event loop behind; they hold nothing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Net(eqx.Module):
    """One of each kind of leaf that a training may hold."""

    layer: eqx.nn.Linear
    half: jax.Array
    key: jax.Array
    count: jax.Array
    mask: jax.Array
    empty: jax.Array
    slope: float
    name: str = eqx.field(static=True)


def state(seed=0):
    first, second = jax.random.split(jax.random.key(seed))
    net = Net(
        eqx.nn.Linear(3, 2, key=first),
        jax.random.normal(second, (5,), jnp.bfloat16),
        jax.random.split(second, (2,)),
        jnp.array(seed + 2**31 - 9, jnp.int32),
        jnp.array([True, False, seed > 0]),
        jnp.zeros((0, 3), jnp.float32),
        0.1,
        "net",
    )
    optimiser = optax.adam(1e-3)
    return {"model": net, "rest": optimiser.init(eqx.filter(net.layer, eqx.is_inexact_array))}


def bits(tree):
    """Every array leaf as bytes; keys as their words."""

    def raw(leaf):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    leaves = [raw(leaf) for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]
    return [(leaf.dtype, leaf.shape, leaf.tobytes()) for leaf in leaves]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "train-0"


@pytest.fixture
def two(folder):
    """Checkpoints 1 and 2, of the states 1 and 2."""
    with closing(Checkpoints(folder)) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step), wait=True)
    yield folder
    gc.collect()  # such futures complain here, and not during the test of somebody else


def test_every_kind_of_leaf_comes_back_bit_for_bit(folder):
    """Modules, Optax state, keys, bfloat16, ints, booleans, empty arrays; the rest from `like`."""
    with closing(Checkpoints(folder)) as checkpoints:
        checkpoints.save(7, state(1), wait=True)
    with closing(Checkpoints(folder)) as checkpoints:
        found = checkpoints.restore(7, state(0))
    assert bits(found) == bits(state(1)) != bits(state(0))
    assert jax.tree.structure(found) == jax.tree.structure(state(1))
    assert (found["model"].slope, found["model"].name) == (0.1, "net")


def test_not_a_number_and_negative_zero_keep_their_bits(folder):
    tree = {"model": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45], jnp.float32), "rest": ()}
    with closing(Checkpoints(folder)) as checkpoints:
        checkpoints.save(1, tree, wait=True)
        assert bits(checkpoints.restore(1, tree)) == bits(tree)


def test_a_model_is_restored_from_its_shapes_alone(two):
    like = {"model": jax.eval_shape(lambda: eqx.filter(state()["model"].layer, eqx.is_array))}
    shapes = {"model": eqx.filter_eval_shape(lambda: state()["model"])}
    with closing(Checkpoints(two)) as checkpoints:
        found = checkpoints.restore(2, shapes)
        assert bits(found) == bits({"model": state(2)["model"]})
        with pytest.raises(CheckpointError, match="can't be read"):
            checkpoints.restore(2, like)


def test_a_checkpoint_written_in_the_background_is_that_of_its_moment(folder):
    """What happens to the state after `save` returns does not reach the file."""
    with closing(Checkpoints(folder)) as checkpoints:
        moment = state(3)
        checkpoints.save(3, moment)
        jax.tree.map(lambda x: x.delete() if eqx.is_array(x) else None, moment)
    with closing(Checkpoints(folder)) as checkpoints:
        assert bits(checkpoints.restore(3, state())) == bits(state(3))


def test_the_last_two_are_kept(folder):
    with closing(Checkpoints(folder, keep=2)) as checkpoints:
        for step in (5, 10, 20, 21):
            checkpoints.save(step, {"model": jnp.arange(3)}, wait=True)
        assert checkpoints.steps() == [20, 21]
    assert sorted(path.name for path in folder.iterdir()) == ["20", "21"]


def data_files(step):
    """The files with the arrays' bytes, largest last."""
    files = [path for path in step.rglob("*") if path.is_file() and path.parent.name == "d"]
    return sorted(files, key=lambda path: path.stat().st_size)


def overwritten(step):
    """The middle third of every file: what lies where, and what is read, is Orbax's affair."""
    for path in data_files(step):
        content = bytearray(path.read_bytes())
        third = slice(len(content) // 3, 2 * len(content) // 3)
        content[third] = bytes(b ^ 0xFF for b in content[third])
        path.write_bytes(content)


def truncated(step):
    for path in data_files(step):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def deleted(step):
    for path in data_files(step):
        path.unlink()


def half_written(step):
    shutil.rmtree(step / "model")


def undigested(step):
    (step / "digests" / "metadata").write_text("{")


def swapped(step):
    """Whole files of another checkpoint: only the digest can tell."""
    shutil.rmtree(step / "model")
    shutil.copytree(step.parent / "1" / "model", step / "model")


@pytest.mark.parametrize(
    "damage", [overwritten, truncated, deleted, half_written, undigested, swapped]
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(two, damage):
    """The older one is restored, the damage is told in one line, and no byte is deleted."""
    damage(two / "2")
    with closing(Checkpoints(two)) as checkpoints:
        step, found, troubles = checkpoints.restore_latest(state())
        assert (step, len(troubles)) == (1, 1)
        assert troubles[0].startswith(str(two / "2"))
        assert "\n" not in troubles[0]
        assert bits(found) == bits(state(1))
        assert checkpoints.steps() == [1]
        checkpoints.save(2, state(5), wait=True)
        assert bits(checkpoints.restore(2, state())) == bits(state(5))
    assert (two / "damaged-2-1").is_dir()


def test_each_damaged_checkpoint_is_kept_under_a_name_of_its_own(two):
    """Twice the same step, and the older ones gone: the first damaged one is not overwritten."""
    with closing(Checkpoints(two)) as checkpoints:
        for number in (1, 2):
            checkpoints.discard(2)
            checkpoints.save(2, state(2), wait=True)
            assert (two / f"damaged-2-{number}").is_dir()


def test_when_all_are_damaged_the_training_starts_anew(two):
    truncated(two / "1")
    truncated(two / "2")
    with closing(Checkpoints(two)) as checkpoints:
        step, found, troubles = checkpoints.restore_latest(state())
        assert (step, found, len(troubles)) == (0, None, 2)
        assert checkpoints.restore_latest(state()) == (0, None, [])


@pytest.mark.parametrize(
    "like",
    [
        {"model": jnp.zeros(3), "rest": ()},
        {"model": state()["model"], "rest": optax.sgd(0.1).init(jnp.zeros(2))},
        {"model": eqx.tree_at(lambda n: n.half, state()["model"], jnp.zeros(6, jnp.bfloat16))},
        {"model": eqx.tree_at(lambda n: n.half, state()["model"], jnp.zeros(5, jnp.float32))},
    ],
    ids=["another net", "another optimiser", "another shape", "another dtype"],
)
def test_a_checkpoint_of_another_shape_is_refused(two, like):
    with (
        closing(Checkpoints(two)) as checkpoints,
        pytest.raises(CheckpointError, match=str(two / "2")),
    ):
        checkpoints.restore(2, like)


def test_a_step_that_is_not_there_is_an_error_of_one_line(two):
    with closing(Checkpoints(two)) as checkpoints, pytest.raises(CheckpointError) as error:
        checkpoints.restore(9, state())
    assert str(error.value).startswith(f"{two / '9'} can't be read")
    assert "\n" not in str(error.value)


@contextmanager
def no_room_for(call):
    """The system call reports that no space is left."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, call, full)
        yield


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("call", ["mkdir", "rename"])
def test_a_full_disk_is_an_error_of_one_line_and_the_last_checkpoint_stays(two, call, wait):
    """At `save`, or in the background and then told at the latest by `close`."""

    def attempt():
        checkpoints = Checkpoints(two)
        checkpoints.save(3, state(3), wait=wait)
        checkpoints.close()

    with no_room_for(call), pytest.raises(CheckpointError) as error:
        attempt()
    says = f"cannot write a checkpoint below {two}: No space left on device"
    assert str(error.value) == says
    assert_two_are_there(two)


def assert_two_are_there(two):
    with closing(Checkpoints(two)) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        assert bits(checkpoints.restore(2, state())) == bits(state(2))
    assert sorted(path.name for path in two.iterdir()) == ["1", "2"]


CROWDED = """
import resource, sys
from pathlib import Path
import jax.numpy as jnp
from tenfold.lab.checkpoint import CheckpointError, Checkpoints

folder, bytes_left = Path(sys.argv[1]), int(sys.argv[2])
tree, hard = {"model": jnp.ones(300)}, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for wait in (True, False):
    checkpoints = Checkpoints(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        checkpoints.save(3, tree, wait=wait)
        checkpoints.close()
    except CheckpointError as error:
        print(error)
    try:
        checkpoints.close()
    except CheckpointError as error:
        assert wait, "told already"
"""


@pytest.mark.parametrize("room", [0, 200])
def test_a_file_that_cannot_grow_is_such_an_error_too(two, room):
    """In another process no file may grow past a few bytes, which C++ notices as well as Python.

    (There its output is a pipe. Here the limit would also hit what pytest writes.)
    """
    words = [sys.executable, "-c", CROWDED, str(two), str(room)]
    child = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    says = f"cannot write a checkpoint below {two}: File too large"
    assert (child.returncode, child.stdout.splitlines()) == (0, [says, says]), child.stderr
    assert_two_are_there(two)


def test_what_a_crash_left_half_written_is_removed(two):
    """Only by the training that owns the folder: who reads a running unit leaves it alone."""
    (two / "3.orbax-checkpoint-tmp").mkdir()
    with closing(Checkpoints(two, owner=False)) as checkpoints:
        assert checkpoints.steps() == [1, 2]
    assert (two / "3.orbax-checkpoint-tmp").exists()
    assert_two_are_there(two)


def test_a_failed_write_holds_up_no_process(two):
    """No thread waits for the folder that could not be made."""
    checkpoints = Checkpoints(two)
    with no_room_for("mkdir"), pytest.raises(CheckpointError):
        checkpoints.save(3, state(3), wait=True)
    names = [thread.name for thread in threading.enumerate() if not thread.daemon]
    assert not [name for name in names if "save" in name or "metadata" in name]


def test_below_a_regular_file_no_checkpoint_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=f"cannot use {tmp_path / 'file' / 'c'}: "):
        Checkpoints(tmp_path / "file" / "c")
