"""Training of GRAN and of GraphRNN-S in the gran study: batches, objectives, optimiser."""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jax import Array

from tenfold import gran
from tenfold.gran.baselines import GraphRNNS
from tenfold.lab.run import Run
from tenfold.lab.train import GradientStep, fit


class RowBatches:
    """Batch i: some of the rows that GraphRNN-S reads."""

    def __init__(self, rows: Any, size: int, seed: int):
        self._rows, self._size, self._seed = jax.tree.map(np.asarray, rows), size, seed

    def __call__(self, i: int) -> Any:
        count = len(self._rows.n_nodes)
        chosen = np.random.default_rng([self._seed, i]).integers(count, size=self._size)
        return jax.tree.map(lambda x: x[chosen], self._rows)


class Objective(eqx.Module):
    def __call__(self, model: Any, batch: Any, key: Array):
        del key
        return gran.loss(model, batch), {}


class RowObjective(eqx.Module):
    def __call__(self, model: Any, batch: Any, key: Array):
        del key
        return -model.log_prob(batch).mean(), {}


@cache
def adam(rate: float, steps: int, decays: bool) -> optax.GradientTransformation:
    """Cached, so that equal trainings share a compiled step."""
    schedule = optax.cosine_decay_schedule(rate, max(steps, 1)) if decays else rate
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))


def windows(
    model: Any, graphs: Any, config: Any, key: Array, *, like: Any, batch: int = 0, **how: Any
) -> gran.Batches:
    """Batches of windows of `batch` graphs, the config's by default.

    Their shapes are those of the graphs `like`, so that all seeds, whose `like` is the same, share
    a compiled step.
    """
    options = {"pool": config.pool, "steps_per_graph": config.windows, **how}
    batch = batch or config.batch
    pattern = gran.Batches(model, like, batch, key=jax.random.key(0), **options)
    return gran.Batches(model, graphs, batch, shapes=pattern.shapes, key=key, **options)


def trained(run: Run, model: Any, batches: Any, steps: int, config: Any, key: Array) -> Any:
    """The model after `steps`; as it is for none."""
    if not steps:
        return model
    objective = RowObjective() if isinstance(model, GraphRNNS) else Objective()
    rate = config.rnn_rate if isinstance(model, GraphRNNS) else config.learning_rate
    step = GradientStep(objective, adam(rate, steps, config.decays))
    return fit(run, step, step.init(model), batches, steps, key=key).model
