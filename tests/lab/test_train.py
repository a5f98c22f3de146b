"""The training loop: batches, donation, one compilation, resume, logs, and the guards."""

import signal
import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tenfold.lab.checkpoint import Checkpoints
from tenfold.lab.files import FileError, read_jsonl
from tenfold.lab.run import Interrupted, Run, Stopped
from tenfold.lab.train import GradientStep, Minibatches, Trained, fit

TRACES = []
KEY = jax.random.key(7)
OPTIMISER = optax.adam(0.05)
X = np.linspace(-1, 1, 12, dtype=np.float32)


class Line(eqx.Module):
    slope: jax.Array
    key: jax.Array

    def __call__(self, x):
        return self.slope * x


def line(slope=0.5):
    return Line(jnp.float32(slope), jax.random.key(3))


def loss(model, batch, key):
    TRACES.append("loss")
    x, y = batch
    noise = 0.1 * jax.random.normal(key, x.shape, x.dtype)
    return jnp.mean((model(x) + noise - y) ** 2), {"slope": model.slope}


STEP = GradientStep(loss, OPTIMISER)


def batches(seed=0):
    return Minibatches((X, 3 * X), 4, seed)


def trained(run, steps=10, step=STEP, model=None, **options):
    """The model after `steps` steps with the run's seed."""
    state = step.init(line() if model is None else model)
    return fit(run, step, state, batches(run.seed), steps, key=KEY, **options).model


@pytest.fixture
def run(tmp_path):
    return Run("arm", 0, tmp_path)


def stop_after(run, step):
    """Batches that press Ctrl-C while step `step` is being prepared."""
    give = batches(run.seed)

    def batch(i):
        if i == step - 1:
            signal.raise_signal(signal.SIGINT)
        return give(i)

    return batch


def bits(model):
    return np.asarray(model.slope).tobytes()


# ---- Batches ----------------------------------------------------------------------------------
def test_a_batch_is_a_function_of_seed_and_index_alone():
    """In any order, from any instance; another seed gives another order."""
    arrays = {"x": np.arange(20), "y": np.arange(40).reshape(20, 2)}
    forward = Minibatches(arrays, 6, 5)
    first = [forward(i) for i in range(9)]
    for i in (8, 2, 0, 5, 5):
        again = Minibatches(arrays, 6, 5)(i)
        assert jax.tree.all(jax.tree.map(np.array_equal, again, first[i]))
        np.testing.assert_array_equal(again["y"][:, 0], 2 * again["x"])
    assert any(not np.array_equal(Minibatches(arrays, 6, 4)(i)["x"], first[i]["x"]) for i in (0, 1))


@pytest.mark.parametrize(("count", "size"), [(20, 5), (20, 6), (7, 7), (3, 1)])
def test_an_epoch_is_a_permutation(count, size):
    """No example twice; all of them where the size divides their number."""
    give = Minibatches(np.arange(count), size, 0)
    assert give.per_epoch == count // size
    for epoch in range(3):
        indices = range(epoch * give.per_epoch, (epoch + 1) * give.per_epoch)
        seen = np.concatenate([give(i) for i in indices])
        assert len(seen) == len(set(seen)) == size * (count // size)


def test_the_order_differs_between_epochs():
    give = Minibatches(np.arange(20), 20, 0)
    assert not np.array_equal(give(0), give(1))


@pytest.mark.parametrize(
    ("arrays", "size", "says"),
    [
        ((np.zeros(3), np.zeros(4)), 1, r"different lengths, \[3, 4\]"),
        (np.zeros(3), 4, "size 4 does not fit 3 examples"),
        (np.zeros(3), 0, "size 0 does not fit 3 examples"),
    ],
)
def test_batches_that_cannot_be_are_refused(arrays, size, says):
    with pytest.raises(ValueError, match=f"Minibatches: .*{says}"):
        Minibatches(arrays, size, 0)


# ---- The loop ---------------------------------------------------------------------------------
def test_a_training_takes_the_steps_that_it_says(run):
    """Against the same updates written out, one by one."""
    found = trained(run, 7, step=GradientStep(loss, optax.sgd(0.1)))
    slope, give = jnp.float32(0.5), batches(0)
    for i in range(7):
        gradient = jax.grad(lambda a, i=i: loss(Line(a, None), give(i), jax.random.fold_in(KEY, i))[0])
        slope = slope - 0.1 * gradient(slope)
    np.testing.assert_allclose(found.slope, slope, rtol=1e-5)


def test_the_callers_model_key_and_state_stay_usable(run):
    """The loop donates its own copies, of PRNG keys too."""
    model = line()
    state = STEP.init(model)
    fit(run, STEP, state, batches(), 3, key=KEY)
    leaves = jax.tree.leaves((eqx.filter(state, eqx.is_array), KEY))
    assert not any(leaf.is_deleted() for leaf in leaves)
    assert float(model.slope) == 0.5
    jax.random.normal(model.key)


def test_a_state_of_numpy_arrays_is_trained_and_left_alone(run, tmp_path):
    """Such leaves are in the checkpoint like all others."""
    model = Line(np.float32([0.5])[0], jax.random.key(3))
    model = eqx.tree_at(lambda m: m.slope, model, np.asarray(0.5, np.float32))
    state = Trained(model, OPTIMISER.init(jnp.float32(0)))
    state = Trained(model, STEP.init(line()).opt_state)
    found = fit(run, STEP, state, batches(), 4, key=KEY).model
    assert bits(found) == bits(trained(Run("other", 0, tmp_path), 4))
    assert model.slope == 0.5
    again = fit(Run("arm", 0, tmp_path), STEP, state, batches(), 4, key=KEY).model
    assert bits(again) == bits(found)


def test_seeds_and_later_steps_share_one_compiled_program(tmp_path):
    """Also a resumed training, whose arrays come from disk."""
    with pytest.raises(Interrupted):
        fit(Run("a", 0, tmp_path), STEP, STEP.init(line()), stop_after(Run("a", 0, tmp_path), 3),
            10, key=KEY)  # fmt: skip
    TRACES.clear()
    trained(Run("a", 0, tmp_path))
    trained(Run("a", 1, tmp_path), model=line(0.1))
    trained(Run("b", 2, tmp_path), 20)
    assert TRACES == []


@pytest.mark.parametrize("stop", [1, 4, 9, 10])
def test_a_resumed_training_equals_an_unbroken_one(tmp_path, stop):
    """Bit for bit; the step at which Ctrl-C was pressed is finished and saved."""
    run = Run("cut", 0, tmp_path)
    with pytest.raises(Interrupted, match=f"interrupted at step {stop}"):
        fit(run, STEP, STEP.init(line()), stop_after(run, stop), 10, key=KEY)
    with Checkpoints_closed(run) as checkpoints:
        assert checkpoints.steps()[-1] == stop
    resumed = trained(Run("cut", 0, tmp_path))
    assert bits(resumed) == bits(trained(Run("whole", 0, tmp_path)))


def Checkpoints_closed(run):
    import contextlib

    return contextlib.closing(Checkpoints(run.checkpoints()))
