"""The training loop: batches, donation, one compilation, resume, logs, and the guards."""

import gc
import signal
import threading
from contextlib import closing

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
OPTIMISER = optax.sgd(0.05, momentum=0.9)
X = np.linspace(-1, 1, 12, dtype=np.float32)


# A read that fails in Orbax leaves futures of a closed event loop behind; they hold nothing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


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
        gradient = jax.grad(
            lambda a, i=i: loss(Line(a, None), give(i), jax.random.fold_in(KEY, i))[0]
        )
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
    model = eqx.tree_at(lambda m: m.slope, line(), np.asarray(0.5, np.float32))
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
    """Bit for bit; the step during which Ctrl-C was pressed is finished and saved."""
    run = Run("cut", 0, tmp_path)
    with pytest.raises(Interrupted, match=f"interrupted at step {stop}"):
        fit(run, STEP, STEP.init(line()), stop_after(run, stop), 10, key=KEY)
    assert steps_saved(run)[-1] == stop
    resumed = trained(Run("cut", 0, tmp_path))
    assert bits(resumed) == bits(trained(Run("whole", 0, tmp_path)))


def steps_saved(run):
    with closing(Checkpoints(run.checkpoints())) as checkpoints:
        return checkpoints.steps()


def test_ctrl_c_reaches_its_former_owner_again_after_the_training(run):
    """And a training that is asked to stop before it began takes one step and saves it."""
    before = signal.getsignal(signal.SIGINT)
    run.ctrl_c.count = 1
    with pytest.raises(Interrupted, match="at step 1"):
        trained(run)
    assert signal.getsignal(signal.SIGINT) is before
    assert steps_saved(run) == [1]


def test_a_training_may_run_outside_the_main_thread(run):
    """Where no signal can be listened to."""
    found = []
    thread = threading.Thread(target=lambda: found.append(trained(run, 2)))
    thread.start()
    thread.join()
    assert len(found) == 1


def refused(i):
    pytest.fail(f"batch {i} was asked for")


def test_a_finished_training_is_not_repeated(run, tmp_path):
    first = trained(run)
    again = fit(Run("arm", 0, tmp_path), STEP, STEP.init(line()), refused, 10, key=KEY)
    assert bits(again.model) == bits(first)


def test_a_damaged_checkpoint_is_told_and_costs_no_correctness(tmp_path):
    trained(Run("cut", 0, tmp_path, checkpoint_seconds=0))
    folder = tmp_path / "checkpoints" / "cut-0"
    for file in (folder / "10").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    told = []
    found = trained(Run("cut", 0, tmp_path, told.append))
    lines = [event["line"] for event in told if event["event"] == "say"]
    assert len(lines) == 1
    assert lines[0].startswith(f"{folder / '10'} ")
    assert lines[0].endswith("; going on from step 9")
    assert bits(found) == bits(trained(Run("whole", 0, tmp_path)))
    gc.collect()  # the futures of Orbax's failed read complain here


@pytest.mark.parametrize(
    ("steps", "log_every", "logged"),
    [(10, 3, [3, 6, 9, 10]), (10, 5, [5, 10]), (3, 50, [3]), (4, 1, [1, 2, 3, 4])],
)
def test_metrics_are_recorded_at_the_interval_and_at_the_end(run, steps, log_every, logged):
    told = []
    run.emit = told.append
    trained(run, steps, log_every=log_every)
    records = list(read_jsonl(run.path / "metrics.jsonl"))
    assert [record["step"] for record in records] == logged
    assert set(records[0]) == {"arm", "seed", "step", "wall", "loss", "slope"}
    assert [event["step"] for event in told] == logged
    assert all((e["arm"], e["seed"], e["steps"]) == ("arm", 0, steps) for e in told)


def test_checkpoints_are_written_as_often_as_asked(run, tmp_path):
    """The newest two stay; without the wish there is one at the end."""
    trained(run, 10)
    assert steps_saved(run) == [10]
    often = Run("often", 0, tmp_path, checkpoint_seconds=0)
    trained(often, 10)
    assert steps_saved(often) == [9, 10]


def test_two_trainings_of_one_arm_need_two_names(run):
    """Else the second would read the first one's checkpoint, and do nothing."""
    first, second = trained(run, 3), trained(run, 3, model=line(2.0), name="x2")
    assert bits(first) != bits(second)
    with pytest.raises(
        ValueError, match=r"a second training of 'arm' needs a name, other than 'x2'"
    ):
        trained(run, 3, name="x2")


class Walk(eqx.Module):
    """A step of one's own, with no metrics."""

    def __call__(self, state, batch, key):
        return Trained(state.model + batch, state.opt_state), {}


def test_a_step_of_ones_own_may_have_no_metrics(run):
    state = Trained(jnp.zeros(2), ())
    found = fit(run, Walk(), state, lambda i: jnp.full(2, float(i)), 4, key=KEY, log_every=2)
    np.testing.assert_array_equal(found.model, [6, 6])


@pytest.mark.parametrize("shape", [(3,), (1,)])
def test_a_loss_that_is_no_scalar_is_refused_with_its_shape(run, shape):
    step = GradientStep(lambda model, batch, key: (model.slope * jnp.ones(shape), {}), OPTIMISER)
    with pytest.raises(
        ValueError, match=rf"GradientStep: the loss must be a scalar, got \({shape[0]},"
    ):
        trained(run, step=step)


# ---- Guards -----------------------------------------------------------------------------------
def breaks_at(step, *, what):
    """A loss one of whose metrics, or whose gradient, is not finite from `step` on."""

    def loss(model, batch, key):
        i, x = batch
        bad = jnp.where(i >= step - 1, jnp.nan, 0.0)
        value = jnp.mean((model.slope * x - 3 * x) ** 2)
        if what == "gradient":  # that of the root of 0, where its value is finite
            return value + jnp.sqrt(jnp.where(i >= step - 1, 0.0, 1.0) * model.slope**2), {}
        return value, {name: value + (bad if name == what else 0.0) for name in ("first", "second")}

    return GradientStep(loss, OPTIMISER)


def numbered(i):
    return jnp.int32(i), jnp.asarray(X[:4])


@pytest.mark.parametrize("what", ["first", "second"])
@pytest.mark.parametrize(("step", "saved"), [(1, 0), (4, 3), (7, 6)])
def test_a_metric_that_is_not_finite_stops_the_training(tmp_path, what, step, saved):
    """It is named with its step, and the checkpoint before stays good."""
    advance, run = breaks_at(step, what=what), Run("arm", 0, tmp_path, checkpoint_seconds=0)
    good = f"the checkpoint of step {saved} is good" if saved else "none was saved yet"
    with pytest.raises(Stopped, match=f"^{what} became non-finite at step {step}; {good}; try a"):
        fit(run, advance, advance.init(line()), numbered, 10, key=KEY)
    assert steps_saved(run)[-1:] == ([saved] if saved else [])


def test_a_metric_that_broke_between_two_looks_is_named_with_its_own_step(run):
    """The host looks at steps 5 and 10; the metric broke at step 7, and is told as of step 7."""
    advance = breaks_at(7, what="second")
    with pytest.raises(Stopped, match=r"^second became non-finite at step 7; none was saved yet"):
        fit(run, advance, advance.init(line()), numbered, 20, key=KEY, log_every=5)
    assert [record["step"] for record in read_jsonl(run.path / "metrics.jsonl")] == [5]


def test_a_parameter_that_is_not_finite_is_never_saved(run):
    """Even where every metric is finite. An infinity in the optimiser's state is no harm."""
    run.checkpoint_seconds = 0
    advance = breaks_at(3, what="gradient")
    state = Trained(line(), (advance.init(line()).opt_state, jnp.inf))
    patient = Patient(advance)
    with pytest.raises(
        Stopped, match=r"^the parameter \.slope became non-finite by step 3; the chec"
    ):
        fit(run, patient, state, numbered, 10, key=KEY)
    assert steps_saved(run) == [1, 2]


class Patient(eqx.Module):
    """Carries a best loss, infinite so far, beside the optimiser's state; shows no loss."""

    advance: GradientStep

    def __call__(self, state, batch, key):
        opt_state, best = state.opt_state
        inner, _ = self.advance(Trained(state.model, opt_state), batch, key)
        return Trained(inner.model, (inner.opt_state, best)), {"one": jnp.float32(1)}


def test_a_full_disk_stops_the_training_with_one_line(run, monkeypatch):
    """The record can't be written; the file is named."""

    def full(path, record):
        raise FileError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("tenfold.lab.run.append_jsonl", full)
    with pytest.raises(FileError, match=r"cannot write .*metrics\.jsonl: No space left on device"):
        trained(run)


# ---- TensorBoard ------------------------------------------------------------------------------
class Writer:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, step, value))


def test_a_writer_gets_every_metric_recorded(run):
    """One tag an arm, a seed and a metric; without a writer nothing is missing."""
    run.writer = Writer()
    trained(run, 4, log_every=2)
    tags = [(tag, step) for tag, step, _ in run.writer.scalars]
    assert tags == [(f"arm-0/{name}", step) for step in (2, 4) for name in ("loss", "slope")]
    records = list(read_jsonl(run.path / "metrics.jsonl"))
    assert [value for tag, _, value in run.writer.scalars if tag.endswith("loss")] == [
        record["loss"] for record in records
    ]
