"""A latent SDE of Lorenz paths: does its posterior fit, does its prior look like data?"""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import sde
from tenfold.base.typing import Key
from tenfold.lab.data import lorenz
from tenfold.lab.metrics import energy_distance
from tenfold.lab.run import Run
from tenfold.lab.selecting import adam
from tenfold.lab.train import GradientStep, fit

HELD = 256
"""Paths that are not trained on."""
SPEED = 4.0
"""Units of the latent time in one of the data's: what matters then takes about one."""


@cache
def data(paths: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, training paths, held-out paths."""
    found = lorenz.load(paths + HELD, 0, steps=steps)
    times = (SPEED * found.times).astype(np.float32)
    return times, found.values[:paths], found.values[paths:]


def model(config: Any, key: Key) -> sde.LatentSDE:
    return sde.latent_sde(
        3,
        4,
        width=config.lorenz_width,
        context=16,
        hidden=config.lorenz_width // 2,
        scale=0.1,
        dtype=jnp.float32,
        key=key,
    )


class Objective(eqx.Module):
    ts: Array

    def __call__(self, net: sde.LatentSDE, batch: tuple[Array, Array], key: Key):
        xs, beta = batch
        loss, parts = sde.elbo(net, xs, self.ts, key, beta=beta)
        return loss / xs[0].size, {name: jnp.mean(part) for name, part in parts.items()}


def train(
    config: Any, key: Key, run: Run, *, beta: float = 1.0, steps: int | None = None
) -> dict[str, Any]:
    """Root mean square error of the posterior's mean on held-out paths, and the energy distance
    of paths of the prior from them."""
    times, seen, held = data(config.lorenz_paths, config.lorenz_times)
    init, noise = jax.random.split(key)
    steps = config.lorenz_steps if steps is None else steps
    step = GradientStep(
        Objective(jnp.asarray(times)), adam(config.lorenz_rate, config.lorenz_decay)
    )

    def batch(i: int) -> tuple[np.ndarray, Any]:
        rows = np.random.default_rng([run.seed, i]).choice(len(seen), config.lorenz_batch)
        weight = beta * min(1.0, (i + 1) / max(1, config.lorenz_steps // 5))
        return seen[rows], np.float32(weight)

    net = model(config, init)
    if steps:
        net = fit(run, step, step.init(net), batch, steps, key=noise).model
    return scores(net, jnp.asarray(times), jnp.asarray(held), jax.random.fold_in(key, 1), run.seed)


def scores(net: sde.LatentSDE, ts: Array, held: Array, key: Key, seed: int) -> dict[str, Any]:
    fitted, free = _samples(net, ts, held, key)
    found = {
        "posterior_rmse": float(jnp.sqrt(jnp.mean((fitted - held) ** 2))),
        "prior_distance": energy_distance(np.asarray(free), np.asarray(held)),
        "data_distance": energy_distance(np.asarray(held[::2]), np.asarray(held[1::2])),
    }
    if seed == 0:
        shown = {"posterior": fitted[:2, :, 0], "data": held[:8, :, 0], "prior": free[:8, :, 0]}
        found |= {f"{name}_paths": np.ravel(value) for name, value in shown.items()}
        found["times"] = np.asarray(ts)
    return found


@eqx.filter_jit
def _samples(net: sde.LatentSDE, ts: Array, held: Array, key: Key) -> tuple[Array, Array]:
    """The posterior's mean of 10 samples, and as many paths of the prior, with noise."""
    first, second, third, fourth = jax.random.split(key, 4)
    fitted = sde.forecast(net, held, ts, first, samples=10).mean
    z0 = net.z0_prior.draw(second, (held.shape[0],))
    zs = sde.sdesolve(net.prior_sde(), z0, ts, third).zs
    return fitted, net.observation.draw(jnp.moveaxis(net.decoder(zs), 0, 1), fourth)
