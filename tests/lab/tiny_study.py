"""A study of another package: tests copy it into a folder that looks installed, as `tinylab`."""

import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tenfold.lab import Arm, Claim, Paper, Preset, Study
from tenfold.lab.train import GradientStep, Minibatches, fit


@dataclass(frozen=True)
class Config:
    steps: int = 20
    """Steps of the training."""
    trouble: Literal["none", "error", "nan", "diverge", "die", "print"] = "none"
    """What the arm `fragile` does at seed 1."""
    rate: float = 0.05
    scales: tuple[float, ...] = (1.0, 2.0)


class Line(eqx.Module):
    """a x + b."""

    slope: jax.Array
    offset: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.slope * x + self.offset


def model(config: Config, key: jax.Array) -> Line:
    del config
    slope, offset = jax.random.normal(key, (2,), jnp.float32)
    return Line(slope, offset)


def loss(line: Line, batch: tuple[jax.Array, jax.Array], key: jax.Array):
    x, y = batch
    noise = 0.1 * jax.random.normal(key, x.shape, x.dtype)
    return jnp.mean((jax.vmap(line)(x) + noise - y) ** 2), {}


class Slow:
    """Batches that take TINYLAB_PAUSE seconds each, so that a test can interrupt a training."""

    def __init__(self, batches: Minibatches):
        self._batches = batches

    def __call__(self, i: int):
        time.sleep(float(os.environ.get("TINYLAB_PAUSE", "0")))
        return self._batches(i)


def train(config, key, run):
    x = np.linspace(-1, 1, 24, dtype=np.float32)
    init, noise = jax.random.split(key)
    step = GradientStep(loss, optax.adam(config.rate))
    batches = Slow(Minibatches((x, 3 * x + 1), 8, run.seed))
    state = step.init(model(config, init))
    line = fit(run, step, state, batches, config.steps, key=noise, log_every=5).model
    return {"value": float(line.slope), "predictions": jax.vmap(line)(x)}


def fragile(config, key, run):
    del key
    trouble = config.trouble if run.seed == 1 else "none"
    if trouble == "error":
        raise ValueError("the arm broke\nand says so at length")
    if trouble == "die":
        os._exit(7)
    if trouble == "print":
        print("a study may print what it likes {")
    if trouble == "diverge":
        step = GradientStep(partial(loss), optax.sgd(1e30))
        state = step.init(Line(jnp.float32(1), jnp.float32(1)))
        ones = jnp.ones(8, jnp.float32)
        fit(run, step, state, lambda i: (ones, ones), 50, key=jax.random.key(0), log_every=1)
    return {"value": float("nan") if trouble == "nan" else 1.0 + run.seed / 8}


def constant(config, key, run, *, value):
    del config, key, run
    return {"value": value}


PAPER = Paper(
    "tiny", "A paper of somebody else", "0000.00000", "a study from another package", "@x"
)
SMALL = Config()
STUDY = Study(
    paper=PAPER,
    presets={
        "smoke": Preset("1 s", Config(steps=2), seeds=1),
        "small": Preset("2 s", SMALL, seeds=3),
        "paper": Preset("3 s", Config(steps=40), seeds=3),
    },
    arms={
        "train": Arm(train, model, "a line, fitted"),
        "fragile": Arm(fragile, says="breaks when told to"),
        "fixed": Arm(partial(constant, value=0.5)),
    },
    claims=(
        Claim(
            "tiny/more", "fragile gives more than 0.5", "section 1", "value", "fragile", 0.5,
            "higher", 0.0, "switched-off",
        ),
    ),
    sabotages={"switched-off": {"fragile": Arm(partial(constant, value=0.25))}},
)  # fmt: skip
