"""Variational autoencoders of binarised digits, trained by SUMO and by bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from tenfold import sumo
from tenfold.base import bernoulli_log_prob
from tenfold.base.typing import Key
from tenfold.lab.data import digits, mnist
from tenfold.lab.run import Run
from tenfold.lab.studies._sumo_nets import Encoder, adam, prior_log_prob
from tenfold.lab.timing import timings
from tenfold.lab.train import GradientStep, Trained, fit, jitted_step, owned
from tenfold.nets import DenseMLP

Bound = Callable[..., sumo.Estimate]


# ---- Data -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Images:
    """Grey pixels to draw training batches from, binary ones to be judged on."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@cache
def images(name: str, tests: int) -> Images:
    """A sixth of the training images (MNIST: 2,000) are for validation; `tests` to test on."""
    room = {"digits": digits, "mnist": mnist}[name]
    seen, held = (room.load(split).images for split in ("train", "test"))
    seen, held = (x.reshape(len(x), -1).astype(np.float32) for x in (seen, held))
    aside = 240 if name == "digits" else 2000
    return Images(
        seen[aside:],
        binary(seen[:aside], np.random.default_rng(1))[:500],
        binary(held, np.random.default_rng(2))[:tests],
    )


def binary(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each pixel is on with the probability that is its ink: drawn anew for each batch."""
    return (rng.random(grey.shape) < grey).astype(np.float32)


@dataclass(frozen=True)
class Batches:
    """Batch i and its rows: functions of (seed, i) alone."""

    train: np.ndarray
    size: int
    seed: int
    rows: Callable[[int, int], Any]
    """(number, batch) -> the plan, or None."""

    def __call__(self, i: int) -> tuple[np.ndarray, Any]:
        rng = np.random.default_rng([self.seed, i])
        x = self.train[rng.choice(len(self.train), self.size, replace=False)]
        return binary(x, rng), self.rows(1_000_003 * self.seed + i, self.size)


# ---- Model ------------------------------------------------------------------------------------
class Decoder(eqx.Module):
    """z ~ N(0, I), pixels Bernoulli: log p(x, z)."""

    net: DenseMLP

    def __call__(self, x: Array, z: Array) -> Array:
        return bernoulli_log_prob(x, self.net(z)) + prior_log_prob(z)


class VAE(eqx.Module):
    decoder: Decoder
    encoder: Encoder


def model(config: Any, key: Key) -> VAE:
    pixels = 784 if config.data == "mnist" else 64
    first, second = jax.random.split(key)
    sizes = {"width": config.width, "depth": config.depth, "activation": jnp.tanh}
    return VAE(
        Decoder(DenseMLP(config.latent, pixels, **sizes, dtype=jnp.float32, key=first)),
        Encoder(DenseMLP(pixels, 2 * config.latent, **sizes, dtype=jnp.float32, key=second)),
    )


# ---- Objectives -------------------------------------------------------------------------------
class OfBound(eqx.Module):
    """-L, a lower bound's mean over the batch."""

    way: Bound = eqx.field(static=True)
    k: int = eqx.field(static=True)

    def __call__(self, nets: VAE, batch: Any, key: Key) -> tuple[Array, Any]:
        found = self.way(nets.decoder, nets.encoder, batch[0], key, k=self.k)
        return -jnp.mean(found.value), {}


class OfSumo(eqx.Module):
    """-SUMO; the encoder follows the bound of its own rows, or the variance."""

    encoder_loss: Any = eqx.field(static=True)

    def __call__(self, nets: VAE, batch: Any, key: Key) -> tuple[Array, Any]:
        x, plan = batch
        loss, found = sumo.nll_and_encoder_loss(
            nets.decoder, nets.encoder, x, key, plan=plan, encoder_loss=self.encoder_loss
        )
        return loss, {"rows": jnp.mean(found.samples_used.astype(jnp.float32))}


# ---- Training ---------------------------------------------------------------------------------
class Watched(eqx.Module):
    """The state of `WatchedStep`."""

    trained: Trained
    step: Array
    curve: Array
    """Negative log-likelihood of validation images, at every so many steps."""

    @property
    def model(self) -> VAE:
        return self.trained.model


class WatchedStep(eqx.Module):
    """`advance` for `lab.train.fit`: a gradient step, and the validation curve."""

    update: GradientStep
    score: Callable[[VAE], Array]
    every: int = eqx.field(static=True)

    def init(self, model: VAE, steps: int) -> Watched:
        curve = jnp.zeros((max(1, steps // self.every),), jnp.float32)
        return Watched(self.update.init(model), jnp.int32(0), curve)

    def __call__(self, state: Watched, batch: Any, key: Key):
        trained, metrics = self.update(state.trained, batch, key)
        step = state.step + 1
        arrays, static = eqx.partition(trained.model, eqx.is_array)
        score = jax.lax.cond(
            step % self.every == 0,
            lambda arrays: self.score(eqx.combine(arrays, static)),
            lambda arrays: jnp.zeros((), jnp.float32),
            arrays,
        )
        place = jnp.clip((step - 1) // self.every, 0, state.curve.shape[0] - 1)
        return Watched(trained, step, state.curve.at[place].add(score)), metrics


class Validation(eqx.Module):
    """-IWAE_200 of the validation images."""

    x: Array

    def __call__(self, nets: VAE) -> Array:
        found = sumo.evaluate(nets.decoder, nets.encoder, self.x, jax.random.key(0), k=200)
        return -jnp.mean(found.value)


@cache
def optimiser_of(rate: float, steps: int, clip: float) -> optax.GradientTransformation:
    """Each net's gradient is clipped by itself, and the clipping counted."""

    def labels(nets: VAE) -> VAE:
        name = lambda label, net: jax.tree.map(lambda _: label, net)  # noqa: E731
        return VAE(name("decoder", nets.decoder), name("encoder", nets.encoder))

    one = adam(rate, steps, clip)
    return optax.multi_transform({"decoder": one, "encoder": one}, labels)


def train(
    config: Any, key: Key, run: Run, *, loss: Callable, rows: Callable[[int, int], Any]
) -> dict[str, Any]:
    """Test images' negative log-likelihood in nats, and what the training was like."""
    found = images(config.data, config.tests)
    init, noise, drawn = jax.random.split(key, 3)
    validation = Validation(jnp.asarray(found.validation[: config.validation]))
    update = GradientStep(loss, optimiser_of(config.rate, config.steps, config.clip))
    step = WatchedStep(update, validation, config.every)
    batches = Batches(found.train, config.batch, run.seed, rows)
    state = step.init(model(config, init), config.steps)
    state = fit(run, step, state, batches, config.steps, key=noise)
    seconds = _step_seconds(step, state, batches, noise)
    clipped = {name: s.inner_state[0] for name, s in state.trained.opt_state.inner_states.items()}
    return (
        evaluation(state.model, found.test, config.evaluate, drawn)
        | {
            "validation_nll": float(state.curve[-1]),
            "curve": np.asarray(state.curve),
            "curve_steps": config.every * (1.0 + np.arange(len(state.curve))),
            "step_seconds": seconds,
            "to_target_seconds": _reached(state.curve, config) * seconds,
            "rows": float(np.mean([_rows(batches(i)[1], loss) for i in range(100)])),
        }
        | {f"{name}_clipped": float(report.frequency) for name, report in clipped.items()}
        | {f"{name}_removed": float(report.share_removed) for name, report in clipped.items()}
    )


def _rows(plan: Any, loss: Any) -> float:
    return float(np.mean(plan.count)) if plan is not None else float(loss.k)


def _reached(curve: Array, config: Any) -> float:
    """Steps to the target, on straight lines between the looks; infinite if it isn't reached."""
    curve_, steps = np.asarray(curve, float), config.every * (1.0 + np.arange(len(curve)))
    below = np.flatnonzero(curve_ <= config.target)
    if not below.size:
        return float("inf")
    i = int(below[0])
    if i == 0:
        return float(steps[0])
    part = (curve_[i - 1] - config.target) / (curve_[i - 1] - curve_[i])
    return float(steps[i - 1] + part * (steps[i] - steps[i - 1]))


def _step_seconds(step: WatchedStep, state: Watched, batches: Batches, key: Key) -> float:
    """Seconds of one compiled step, a mean over the plans of 20 steps that the training took."""
    chosen = [batches(i) for i in range(20)]

    def steps() -> Array:
        # From the first step on, where the validation images aren't looked at; a copy is donated.
        again = eqx.tree_at(lambda s: s.step, jax.tree.map(owned, state), jnp.int32(0))
        bad = jnp.array(-1, jnp.int32)
        for i, batch in enumerate(chosen):
            again, bad, _ = jitted_step((step, batch), again, bad, jnp.int32(i), key)
        return again.step

    return timings({"steps": steps}, spend=0.0)["steps"] / len(chosen)


def evaluation(nets: VAE, x: np.ndarray, k: int, key: Key) -> dict[str, Any]:
    """IWAE_k of the test images, the ELBO, and the spread of SUMO's estimates there."""
    values, gaps, elbos = _evaluated(nets, jnp.asarray(x), k, key)
    plan = sumo.RowPlan.draw(0, len(x))
    once = np.asarray(_once(nets, jnp.asarray(x), key, plan))
    return {
        "test_nll": -float(np.mean(values)),
        "test_gap": float(np.mean(gaps)),
        "test_elbo": float(np.mean(elbos)),
        "estimate_spread": float(np.sqrt(np.mean((once - np.asarray(values)) ** 2))),
    }


@eqx.filter_jit
def _evaluated(nets: VAE, x: Array, k: int, key: Key) -> tuple[Array, Array, Array]:
    chunk = next(c for c in (50, 25, 20, 10, 5, 4, 2, 1) if k % c == 0)
    found = sumo.evaluate(nets.decoder, nets.encoder, x, key, k=k, chunk=chunk)
    below = sumo.baselines.elbo(nets.decoder, nets.encoder, x, jax.random.fold_in(key, 1), k=20)
    return found.value, found.gap, below.value


@eqx.filter_jit
def _once(nets: VAE, x: Array, key: Key, plan: sumo.RowPlan) -> Array:
    return sumo.sumo(nets.decoder, nets.encoder, x, key, plan=plan).value
