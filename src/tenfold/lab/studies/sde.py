"""Scalable gradients for stochastic differential equations (arXiv 2001.01328).

The theory on equations with known answers; a latent SDE on walks, and on the Lorenz system.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import _papers, sde
from tenfold.base.typing import Key
from tenfold.lab.run import Run
from tenfold.lab.selecting import SelectingStep, adam
from tenfold.lab.studies import _sde_checks as checks
from tenfold.lab.studies import _sde_figures as figures
from tenfold.lab.studies import _sde_lorenz as lorenz
from tenfold.lab.studies._sde_claims import CLAIMS, DIFFERENCES
from tenfold.lab.studies._sde_walks import FRAMES, SEEN, SPLITS, Windows, data, validation_windows
from tenfold.lab.study import Arm, Preset, Study
from tenfold.lab.train import fit


@dataclass(frozen=True)
class Config:
    data: Literal["auto", "mocap", "walks"] = "auto"
    """The walks: motion capture (from TENFOLD_DATA), made-up ones, or the first that is there."""
    steps: int = 300
    """Training steps on the walks."""
    window: int = 100
    """Frames of a training window; its start is random."""
    dt: float = 0.1
    """Time between two frames."""
    substeps: int = 1
    """Steps of the solver between two frames."""
    beta: float = 0.1
    """Weight of the divergence, after `warm_up` steps."""
    warm_up: int = 200
    learning_rate: float = 0.01
    decay: float = 0.999
    """Of the learning rate, a step."""
    latent: int = 6
    width: int = 30
    """Of every hidden layer."""
    every: int = 20
    """Steps between two looks at the validation walks."""
    samples: int = 50
    """Sample paths of a prediction."""
    paths: int = 400
    """Paths on which orders are measured."""
    memory_steps: tuple[int, ...] = (100, 1000)
    """Steps of the solves whose memory is compared: first and last."""
    lorenz_steps: int = 600
    lorenz_paths: int = 512
    lorenz_times: int = 40
    lorenz_batch: int = 32
    lorenz_width: int = 64
    lorenz_rate: float = 0.01
    lorenz_decay: float = 0.998


# ---- Model ------------------------------------------------------------------------------------
def model(config: Config, key: Key, *, ode: bool = False) -> sde.LatentSDE:
    net = sde.latent_sde(
        50, config.latent, width=config.width, context=3, hidden=config.width, frames=SEEN,
        decoder_width=config.width, dtype=jnp.float32, key=key,
    )  # fmt: skip
    return eqx.tree_at(lambda m: m.diffusion, net, None) if ode else net


def times(config: Config, frames: int) -> Array:
    return config.dt * jnp.arange(frames, dtype=jnp.float32)


# ---- Objective --------------------------------------------------------------------------------
class Objective(eqx.Module):
    """-ELBO, a mean over values, so that learning rates mean the same for all windows."""

    ts: Array
    substeps: int = eqx.field(static=True)

    def __call__(self, net: sde.LatentSDE, batch: tuple[Array, Array], key: Key):
        xs, beta = batch
        loss, parts = sde.elbo(net, xs, self.ts, key, beta=beta, substeps=self.substeps)
        return loss / xs[0].size, {name: jnp.mean(part) for name, part in parts.items()}


class Validation(eqx.Module):
    """Mean square error of five samples on windows of the validation walks, in their own scale."""

    ts: Array
    windows: Array
    scale: Array
    substeps: int = eqx.field(static=True)

    def __call__(self, net: sde.LatentSDE) -> Array:
        means = predict(net, self.windows, self.ts, 5, self.substeps, jax.random.key(0))
        return jnp.mean(
            ((means - self.windows[None]) * self.scale[None, None, None])[:, :, SEEN:] ** 2
        )


@eqx.filter_jit
def predict(net: sde.LatentSDE, xs: Array, ts: Array, samples: int, substeps: int, key: Key):
    """Sample paths (samples, walks, T, D) from the first three frames, without noise."""
    return sde.forecast(
        net, xs[:, :SEEN], ts, key, samples=samples, substeps=substeps, beyond="posterior"
    ).means


# ---- Arms -------------------------------------------------------------------------------------
def train(config: Config, key: Key, run: Run, *, factor: float = 1.0, ode: bool = False):
    """`factor` times the divergence's weight; with `ode`, a latent ODE."""
    series, scale, real = data(config.data)
    init, noise, drawn = jax.random.split(key, 3)
    windows = validation_windows(series["val"], config.window)
    ts, sub = times(config, config.window), config.substeps
    step = SelectingStep(
        Objective(ts, sub),
        adam(config.learning_rate, config.decay),
        Validation(ts, jnp.asarray(windows), jnp.asarray(scale), sub),
        config.every,
    )
    batches = Windows(
        series["train"], config.window, run.seed, factor * config.beta, config.warm_up
    )
    state = step.init(model(config, init, ode=ode))
    state = fit(run, step, state, batches, config.steps, key=noise)
    return performance(state.model, config, drawn, run) | {
        "real_data": float(real),
        "chosen_step": float(state.chosen),
        "validation_mse": float(state.score),
    }


def performance(net: sde.LatentSDE, config: Config, key: Key, run: Run) -> dict[str, Any]:
    series, scale, _ = data(config.data)
    all_walks = np.concatenate([series[split] for split in SPLITS])
    ts, sub = times(config, FRAMES), config.substeps
    means = np.asarray(predict(net, jnp.asarray(all_walks), ts, config.samples, sub, key))
    found, first = {}, 0
    for split in SPLITS:
        xs = series[split]
        gap = ((means[:, first : first + len(xs)] - xs) * scale)[:, :, SEEN:]
        found[f"{split}_mse"] = float(np.mean(gap**2))
        found[f"{split}_mse_of_mean"] = float(np.mean(np.mean(gap, axis=0) ** 2))
        first += len(xs)
    if run.seed == 0:
        walk = -len(series["test"])
        found |= figures.leading(means[:, walk], all_walks[walk], series["train"], scale)
    return found


def trivial(config: Config, key: Key, run: Run, *, nearest: bool):
    """The training walk nearest in its first three frames, or the mean training frame."""
    del key, run
    series, scale, real = data(config.data)
    seen, found = series["train"], {"real_data": float(real)}
    for split in ("val", "test"):
        xs = series[split]
        guess = np.broadcast_to(seen.mean((0, 1)), xs.shape)
        if nearest:
            gap = ((xs[:, None, :SEEN] - seen[None, :, :SEEN]) * scale) ** 2
            guess = seen[gap.sum((2, 3)).argmin(1)]
        error = float(np.mean((((xs - guess) * scale)[:, SEEN:]) ** 2))
        found |= {f"{split}_mse": error, f"{split}_mse_of_mean": error}
    return found


ARMS = {
    "latent-sde": Arm(train, model, "the method"),
    "latent-ode": Arm(partial(train, ode=True), partial(model, ode=True), "same nets, g = 0"),
    "no-kl": Arm(partial(train, factor=0.0), model, "the latent SDE without its divergence"),
    "nearest": Arm(partial(trivial, nearest=True), says="nearest training walk, by three frames"),
    "mean-frame": Arm(partial(trivial, nearest=False), says="the mean training frame"),
    "lorenz": Arm(lorenz.train, lorenz.model, "a latent SDE of stochastic Lorenz paths"),
    "lorenz-untrained": Arm(partial(lorenz.train, steps=0), says="... before its first step"),
    "orders": Arm(checks.orders, says="errors against closed forms, 400 paths"),
    "memory": Arm(checks.memory, says="bytes of compiled gradients"),
    "tree": Arm(checks.tree, says="queries of the virtual Brownian tree"),
    "backward-stratonovich": Arm(partial(checks.reversal, negated="stratonovich")),
    "backward-ito": Arm(partial(checks.reversal, negated="ito")),
}

SABOTAGES = {
    "not-replayed": {
        "orders": Arm(partial(checks.orders, replayed=False)),
        "memory": Arm(partial(checks.memory, exact=checks.NotReplayed(sde.Exact()))),
    },
    "stored": {"memory": Arm(partial(checks.memory, exact=sde.Store(), adjoint=sde.Store()))},
    "negated-ito": {"backward-stratonovich": Arm(partial(checks.reversal, negated="ito"))},
    "summed": {"tree": Arm(partial(checks.tree, summed=True))},
    "fresh-noise": {"tree": Arm(partial(checks.tree, fresh=True))},
    "overweight": {
        "latent-sde": Arm(partial(train, factor=1e4), model),
        "lorenz": Arm(partial(lorenz.train, beta=1e4)),
    },
    "kl-kept": {"no-kl": Arm(train, model)},
    "prior-untrained": {"lorenz": Arm(partial(lorenz.train, steps=0))},
}

SMALL = Config()
SMOKE = replace(
    SMALL, steps=4, window=20, every=2, samples=2, paths=4, lorenz_steps=2, lorenz_times=8
)
PAPER = replace(
    SMALL, steps=400, substeps=5, memory_steps=(100, 300, 1000, 3000), lorenz_steps=5000,
    lorenz_paths=1024, lorenz_times=100, lorenz_batch=1024, lorenz_width=128, lorenz_decay=0.999,
)  # fmt: skip

STUDY = Study(
    paper=_papers.SDE,
    presets={
        "smoke": Preset("1 min, 2 cores", SMOKE, seeds=1),
        "small": Preset("2 min, 2 cores", SMALL, seeds=3),
        "paper": Preset("hours; of the walks, 1 h on 2 cores", PAPER, seeds=10),
    },
    arms=ARMS,
    claims=CLAIMS,
    sabotages=SABOTAGES,
    figures=figures.FIGURES,
    differences=DIFFERENCES,
)
