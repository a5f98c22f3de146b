"""The only loop with I/O: one jitted step, checkpoints, logs, and a guard against NaN."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import PyTree

from tenfold.lab.checkpoint import Checkpoints
from tenfold.lab.run import Interrupted, Run, Stopped

Advance = Callable[[Any, PyTree, Array], tuple[Any, Mapping[str, Array]]]
"""`advance(state, batch, key) -> (state, metrics)`: one pure step. Make it a module-level
function or an `eqx.Module`: what is equal is compiled once, for all seeds."""

Batch = Callable[[int], PyTree]
"""`batch(i)`: the arrays of step i, a function of i (and of the seed it was made with) alone."""


class Trained(eqx.Module):
    """The state of a gradient training. Any state with a `model` may take its place in `fit`."""

    model: Any
    opt_state: Any


class GradientStep(eqx.Module):
    """`advance` by one Optax update of `loss(model, batch, key) -> (scalar, metrics)`."""

    loss: Callable[[Any, PyTree, Array], tuple[Array, Mapping[str, Array]]]
    optimiser: optax.GradientTransformation

    def init(self, model: Any) -> Trained:
        return Trained(model, self.optimiser.init(eqx.filter(model, eqx.is_inexact_array)))

    def __call__(self, state: Trained, batch: PyTree, key: Array):
        def scalar(model: Any) -> tuple[Array, Mapping[str, Array]]:
            loss, metrics = self.loss(model, batch, key)
            if jnp.shape(loss):
                raise ValueError(f"GradientStep: the loss must be a scalar, got {jnp.shape(loss)}")
            return loss, metrics

        compute = eqx.filter_value_and_grad(scalar, has_aux=True)
        (loss, metrics), gradient = compute(state.model)
        parameters = eqx.filter(state.model, eqx.is_inexact_array)
        updates, opt_state = self.optimiser.update(gradient, state.opt_state, parameters)
        model = eqx.apply_updates(state.model, updates)
        return Trained(model, opt_state), {"loss": loss, **metrics}


class Minibatches:
    """Batch i of epoch-wise shuffled arrays, a function of (seed, i) alone: resume needs no replay.

    A last, smaller batch of an epoch is left out, so that shapes never change.
    """

    def __init__(self, arrays: PyTree, size: int, seed: int):
        sizes = {len(leaf) for leaf in jax.tree.leaves(arrays)}
        if len(sizes) != 1:
            raise ValueError(f"Minibatches: the arrays have different lengths, {sorted(sizes)}")
        self._arrays, self._count = arrays, sizes.pop()
        if not 1 <= size <= self._count:
            raise ValueError(f"Minibatches: size {size} does not fit {self._count} examples")
        self._size, self._seed = size, seed
        self.per_epoch = self._count // size
        self._epoch: tuple[int, np.ndarray] | None = None

    def __call__(self, i: int) -> PyTree:
        epoch, position = divmod(i, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            self._epoch = (epoch, order)
        rows = self._epoch[1][position * self._size : (position + 1) * self._size]
        return jax.tree.map(lambda leaf: leaf[rows], self._arrays)


@eqx.filter_jit(donate="all-except-first")
def jitted_step(advance_and_batch, state, first_bad, i, key):
    """One step, as `fit` takes it; `state` is donated.

    `first_bad` remembers the first metric that was not finite, as step * metrics + its place in
    the alphabet, so that the loop need not wait for the device at every step.
    """
    advance, batch = advance_and_batch
    state, metrics = advance(state, batch, jax.random.fold_in(key, i))
    for place, name in enumerate(sorted(metrics)):
        bad = ~jnp.all(jnp.isfinite(metrics[name]))
        first_bad = jnp.where((first_bad < 0) & bad, i * len(metrics) + place, first_bad)
    return state, first_bad, metrics


def fit(
    run: Run,
    advance: Advance,
    state: Any,
    batch: Batch,
    steps: int,
    *,
    key: Array,
    log_every: int = 50,
    name: str = "",
) -> Any:
    """Takes `steps` steps from `state`, or from the run's newest checkpoint.

    Batch i and key i depend on i alone and the checkpoint holds everything else, so a resumed
    training equals an unbroken one bit for bit (on a CPU, at the same number of threads).

    **Arguments:**

    - `run`: where to record, checkpoint and report progress.
    - `advance`, `batch`: see `Advance`, `Batch`.
    - `state`: a pytree with an attribute `model`, which is what `tenfold.lab.load` returns. It is
      copied, and stays as it is.
    - `key`: step i gets `jax.random.fold_in(key, i)`.
    - `log_every`: steps between records of the metrics.
    - `name`: tells several trainings of one arm apart.

    **Raises:** `Stopped` when a metric or a parameter is no longer finite, naming it and the step;
    `Interrupted` after Ctrl-C, once a checkpoint is written; `CheckpointError`, `FileError`;
    `ValueError` for a second training of one name.
    """
    if name in run.trainings:
        raise ValueError(f"fit: a second training of {run.arm!r} needs a name, other than {name!r}")
    run.trainings.add(name)
    state = jax.tree.map(owned, state)
    with contextlib.closing(Checkpoints(run.checkpoints(name))) as checkpoints, run.ctrl_c.heard():
        start, found, troubles = checkpoints.restore_latest(_items(state))
        for trouble in troubles:
            run.say(f"{trouble}; going on from step {start}")
        if found is not None:
            state = jax.tree.map(owned, _joined(state, found))
        return _loop(run, advance, state, batch, start, steps, key, log_every, checkpoints)


def _loop(run, advance, state, batch, start, steps, key, log_every, checkpoints):
    first_bad, saved, clock = jnp.array(-1, jnp.int32), start, time.monotonic()
    for i in range(start, steps):
        state, first_bad, metrics = jitted_step(
            (advance, batch(i)), state, first_bad, jnp.int32(i), key
        )
        done, last = i + 1, i + 1 == steps
        stop = run.ctrl_c.count > 0  # read once: a Ctrl-C from here on is for the next step
        due = last or stop or time.monotonic() - clock > run.checkpoint_seconds
        if done % log_every == 0 or due:
            _guard(int(first_bad), metrics, saved)
            if done % log_every == 0 or last:
                run.record(done, **{k: float(jnp.mean(m)) for k, m in metrics.items()})
                run.progress(done, steps)
        if due:
            _guard_parameters(state.model, done, saved)
            checkpoints.save(done, _items(state), wait=stop or last)
            saved, clock = done, time.monotonic()
        if stop:
            raise Interrupted(done)
    return state


def owned(leaf: Any) -> Any:
    """A copy, since donation must not reach the caller's arrays; of strong type, or the second step
    would be compiled again."""
    if isinstance(leaf, np.ndarray):
        return jnp.array(leaf)
    if not eqx.is_array(leaf):
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.array(jax.random.key_data(leaf)), dtype=leaf.dtype)
    return jnp.array(leaf, dtype=leaf.dtype)


def _items(state: Any) -> dict[str, PyTree]:
    rest = eqx.tree_at(lambda s: s.model, state, None)
    return {"model": state.model, "rest": rest}


def _joined(state: Any, items: dict[str, PyTree]) -> Any:
    rest = items["rest"]
    return eqx.tree_at(lambda s: s.model, rest, items["model"], is_leaf=lambda x: x is None)


def _guard(first_bad: int, metrics: Mapping[str, Array], saved: int):
    if first_bad >= 0:
        step, place = divmod(first_bad, len(metrics))
        name = sorted(metrics)[place]
        raise Stopped(f"{name} became non-finite at step {step + 1}", saved)


def _guard_parameters(model: Any, step: int, saved: int):
    """Of the model alone: an optimiser may hold infinities by design (a best loss so far, say)."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_inexact_array)):
        if not np.all(np.isfinite(leaf)):
            where = jax.tree_util.keystr(path)
            raise Stopped(f"the parameter {where} became non-finite by step {step}", saved)
