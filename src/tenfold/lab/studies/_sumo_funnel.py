"""A latent-variable model is fitted to Neal's funnel by reverse KL (section 6.2 of the paper)."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import sumo
from tenfold.base import normal_log_prob
from tenfold.base.typing import Key
from tenfold.lab.run import Run
from tenfold.lab.studies._sumo_nets import Encoder, adam, ascending, prior_log_prob, stopped
from tenfold.lab.train import GradientStep, fit
from tenfold.nets import DenseMLP

WIDTH = 1.35
"""Standard deviation of x2."""
LATENT = 8
NARROWEST = 0.03
"""Least standard deviation of x given z: the funnel's own is e^-3.5 at two and a half of x2's."""


def log_target(x: Array) -> Array:
    """x2 ~ N(0, 1.35^2), x1 | x2 ~ N(0, exp(x2)^2): normalised, so that the KL is known."""
    zero, wide = jnp.zeros((), x.dtype), jnp.asarray(WIDTH, x.dtype)
    return normal_log_prob(x[1], zero, wide) + normal_log_prob(x[0], zero, jnp.exp(x[1]))


class Joint(eqx.Module):
    """z ~ N(0, I_8), x | z ~ N(mean(z), diag scale(z)^2)."""

    net: DenseMLP

    def of(self, z: Array) -> tuple[Array, Array]:
        mean, scale = jnp.split(self.net(z), 2, axis=-1)
        return mean, jax.nn.softplus(scale) + NARROWEST

    def __call__(self, x: Array, z: Array) -> Array:
        mean, scale = self.of(z)
        return normal_log_prob(x, mean, scale) + prior_log_prob(z)

    def sample(self, key: Key) -> Array:
        first, second = jax.random.split(key)
        mean, scale = self.of(jax.random.normal(first, (LATENT,), jnp.float32))
        return mean + scale * jax.random.normal(second, (2,), jnp.float32)


def features(x: Array) -> Array:
    """Of similar size everywhere: the funnel's mouth is two orders wider than its neck."""
    return jnp.arcsinh(jnp.stack([x[0], x[0] * jnp.exp(-x[1]), x[1]]))


class Nets(eqx.Module):
    joint: Joint
    encoder: Encoder


def model(config: Any, key: Key) -> Nets:
    first, second = jax.random.split(key)
    options = {"activation": jnp.tanh, "dtype": jnp.float32}
    width = config.funnel_width
    return Nets(
        Joint(DenseMLP(LATENT, 4, width, **options, key=first)),
        Encoder(DenseMLP(3, 2 * LATENT, width, **options, key=second), features),
    )


class OfSumo(eqx.Module):
    """E_p[SUMO - log p*]."""

    batch: int = eqx.field(static=True)

    def __call__(self, nets: Nets, plan: sumo.RowPlan, key: Key) -> tuple[Array, Any]:
        loss, _ = sumo.reverse_kl(
            nets.joint.sample, nets.joint, nets.encoder, log_target, key,
            batch=self.batch, plan=plan, encoder_loss="bound",
        )  # fmt: skip
        return loss, {}


class OfIwae(eqx.Module):
    """E_p[L_k - log p*], which the model minimises, while the encoder keeps L_k tight."""

    batch: int = eqx.field(static=True)
    k: int = eqx.field(static=True)

    def __call__(self, nets: Nets, plan: Any, key: Key) -> tuple[Array, Any]:
        del plan
        draws, samples = jax.random.split(key)
        x = jax.vmap(nets.joint.sample)(jax.random.split(draws, self.batch))
        bound = partial(sumo.baselines.iwae, key=samples, k=self.k)
        of_model = bound(nets.joint, stopped(nets.encoder), x).value
        of_encoder = bound(stopped(nets.joint), nets.encoder, stopped(x)).value
        loss = jnp.mean(of_model) - jnp.mean(jax.vmap(log_target)(x))
        return loss + ascending(of_encoder), {}


def train(config: Any, key: Key, run: Run, *, bound: bool = False) -> dict[str, Any]:
    """KL(p || p*), and how far the bound that was trained on is below log p."""
    init, noise, drawn = jax.random.split(key, 3)
    batch, k = config.funnel_batch, config.k
    loss = OfIwae(batch, k) if bound else OfSumo(batch)

    # One program, nearly always.
    ladder, tail = sumo.Ladder(1024, multiple=1024), sumo.PowerTail(config.s)

    def plan(i: int) -> Any:
        draw = partial(sumo.RowPlan.draw, ladder=ladder, stratified=True)
        return None if bound else draw(1_000_003 * run.seed + i, batch, tail, config.m)

    step = GradientStep(loss, adam(config.funnel_rate, config.funnel_steps))
    state = step.init(model(config, init))
    state = fit(run, step, state, plan, config.funnel_steps, key=noise, log_every=250)
    report = state.opt_state[0]
    found = {
        name: np.asarray(value, float)
        for name, value in _scores(state.model, config.funnel_tests, k, drawn).items()
    }
    x = found.pop("x")
    found = {name: float(value) for name, value in found.items()}
    found |= {"clipped": float(report.frequency), "removed": float(report.share_removed)}
    if run.seed == 0:
        found |= {"x1": x[:1000, 0], "x2": x[:1000, 1]}
    return found


@eqx.filter_jit
def _scores(nets: Nets, n: int, k: int, key: Key) -> dict[str, Array]:
    """log p of n draws by the mixture of 8,192 components that the prior gives, in 16 parts."""
    first, second, third = jax.random.split(key, 3)
    x = jax.vmap(nets.joint.sample)(jax.random.split(first, n))
    zs = jax.random.normal(second, (16, 512, LATENT), jnp.float32)

    def part(total: Array, z: Array) -> tuple[Array, None]:
        mean, scale = nets.joint.of(z)
        apart = (x[:, None] - mean[None]) / scale[None]
        each = -jnp.sum(0.5 * apart**2 + jnp.log(scale)[None], axis=-1) - jnp.log(2 * jnp.pi)
        return jnp.logaddexp(total, jax.nn.logsumexp(each, axis=1)), None

    total, _ = jax.lax.scan(part, jnp.full(n, -jnp.inf, jnp.float32), zs)
    log_p = total - jnp.log(jnp.asarray(16.0 * 512, jnp.float32))
    bound = sumo.baselines.iwae(nets.joint, nets.encoder, x, third, k=k).value
    return {
        "kl": jnp.mean(log_p - jax.vmap(log_target)(x)),
        "bound_gap": jnp.mean(log_p - bound),
        "width": jnp.std(x[:, 1]),
        "x": x,
    }
