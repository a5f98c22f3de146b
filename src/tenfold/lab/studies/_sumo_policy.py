"""Policies over 20 bits, for a random quadratic reward with an entropy bonus (section 6.3).

The best policy is known by enumeration: exp(R / tau) / Z. So each policy's distance from it is
KL(p || best) = log Z - (E[R] + tau H(p)) / tau, and no policy can be below 0.
"""

from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import sumo
from tenfold.base import bernoulli_log_prob
from tenfold.base.typing import Key
from tenfold.lab.run import Run
from tenfold.lab.studies._sumo_nets import Encoder, adam, ascending, prior_log_prob, stopped
from tenfold.lab.train import GradientStep, fit
from tenfold.nets import DenseMLP

BITS, LATENT = 20, 8


# ---- Problem ----------------------------------------------------------------------------------
def couplings(seed: int) -> np.ndarray:
    """R(x) = x' C x of x in {0, 1}^20, C upper triangular, its entries standard normal."""
    c = np.random.default_rng([20, seed]).standard_normal((BITS, BITS))
    return np.triu(c).astype(np.float32)


@cache
def log_partition(seed: int, temperature: float) -> tuple[float, float]:
    """log Z = log sum exp(R / tau) and the largest R, over all 2^20 x: two halves of ten bits."""
    c, half = couplings(seed).astype(np.float64), BITS // 2
    bits = ((np.arange(2**half)[:, None] >> np.arange(half)) & 1).astype(np.float64)
    first = np.einsum("ni,ij,nj->n", bits, c[:half, :half], bits)
    second = np.einsum("ni,ij,nj->n", bits, c[half:, half:], bits)
    rewards = first[:, None] + second[None] + bits @ c[:half, half:] @ bits.T
    scaled = rewards / temperature
    top = scaled.max()
    return float(top + np.log(np.exp(scaled - top).sum())), float(rewards.max())


class Reward(eqx.Module):
    couplings: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.couplings @ x


# ---- Policies ---------------------------------------------------------------------------------
class Latent(eqx.Module):
    """z ~ N(0, I_8), bits independent given z."""

    net: DenseMLP

    def __call__(self, x: Array, z: Array) -> Array:
        return bernoulli_log_prob(x, self.net(z)) + prior_log_prob(z)

    def sample(self, key: Key) -> Array:
        first, second = jax.random.split(key)
        logits = self.net(jax.random.normal(first, (LATENT,), jnp.float32))
        return _bits(second, logits)


def signs(x: Array) -> Array:
    return 2 * x - 1


class Nets(eqx.Module):
    joint: Latent
    encoder: Encoder


class Autoregressive(eqx.Module):
    """Bit i is on with logit b_i + sum_{j < i} w_ij x_j; w = 0 for ever: independent bits."""

    bias: Array
    weight: Array
    coupled: bool = eqx.field(static=True)

    def logits(self, x: Array) -> Array:
        return self.bias + (jnp.tril(self.weight, -1) @ x if self.coupled else 0 * self.bias)

    def log_prob(self, x: Array) -> Array:
        return bernoulli_log_prob(x, self.logits(x))

    def sample(self, key: Key) -> Array:
        def bit(x: Array, i: Array) -> tuple[Array, None]:
            on = jax.random.uniform(jax.random.fold_in(key, i), (), x.dtype)
            return x.at[i].set((on < jax.nn.sigmoid(self.logits(x)[i])).astype(x.dtype)), None

        return jax.lax.scan(bit, jnp.zeros_like(self.bias), jnp.arange(BITS, dtype=jnp.int32))[0]


def _bits(key: Key, logits: Array) -> Array:
    on = jax.random.uniform(key, logits.shape, logits.dtype) < jax.nn.sigmoid(logits)
    return on.astype(logits.dtype)


def latent(config: Any, key: Key) -> Nets:
    first, second = jax.random.split(key)
    options = {"activation": jnp.tanh, "dtype": jnp.float32}
    width = config.policy_width
    return Nets(
        Latent(DenseMLP(LATENT, BITS, width, **options, key=first)),
        Encoder(DenseMLP(BITS, 2 * LATENT, width, **options, key=second), signs),
    )


def explicit(config: Any, key: Key, *, coupled: bool) -> Autoregressive:
    del config, key
    return Autoregressive(
        jnp.zeros(BITS, jnp.float32), jnp.zeros((BITS, BITS), jnp.float32), coupled
    )


# ---- Objectives: -E[R] - tau H ----------------------------------------------------------------
class OfSumo(eqx.Module):
    reward: Reward
    temperature: float = eqx.field(static=True)
    batch: int = eqx.field(static=True)

    def __call__(self, nets: Nets, plans: Any, key: Key) -> tuple[Array, Any]:
        loss, _ = sumo.score_function(
            nets.joint.sample, nets.joint, nets.encoder, self.reward, key, batch=self.batch,
            temperature=self.temperature, plan=plans[0], twin_plan=plans[1], encoder_loss="bound",
        )  # fmt: skip
        return loss, {}


class OfIwae(eqx.Module):
    """The same with L_k in the place of both estimates."""

    reward: Reward
    temperature: float = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    k: int = eqx.field(static=True)

    def __call__(self, nets: Nets, plans: Any, key: Key) -> tuple[Array, Any]:
        draws, first, second = jax.random.split(key, 3)
        x = jax.vmap(nets.joint.sample)(jax.random.split(draws, self.batch))
        x = jax.lax.stop_gradient(x)
        bound = lambda nets, key: (  # noqa: E731
            sumo.baselines.iwae(nets.joint, nets.encoder, x, key, k=self.k).value
        )
        gain = jax.vmap(self.reward)(x) - self.temperature * bound(nets, first)
        of_model = Nets(nets.joint, stopped(nets.encoder))
        of_encoder = Nets(stopped(nets.joint), nets.encoder)
        loss = _score(gain, bound(of_model, second))
        return loss + ascending(bound(of_encoder, second)), {}


class OfExact(eqx.Module):
    reward: Reward
    temperature: float = eqx.field(static=True)
    batch: int = eqx.field(static=True)

    def __call__(self, policy: Autoregressive, plans: Any, key: Key) -> tuple[Array, Any]:
        x = jax.vmap(policy.sample)(jax.random.split(key, self.batch))
        log_prob = jax.vmap(policy.log_prob)(jax.lax.stop_gradient(x))
        return _score(jax.vmap(self.reward)(x) - self.temperature * log_prob, log_prob), {}


def _score(gain: Array, log_prob: Array) -> Array:
    """-mean(gain), with the gradient of score functions; the others' mean is the baseline."""
    gain = jax.lax.stop_gradient(gain)
    n = gain.shape[0]
    advantage = gain - (jnp.sum(gain) - gain) / (n - 1)
    surrogate = jnp.mean(advantage * log_prob)
    return jax.lax.stop_gradient(surrogate - jnp.mean(gain)) - surrogate


# ---- Training ---------------------------------------------------------------------------------
def train(config: Any, key: Key, run: Run, *, way: str) -> dict[str, Any]:
    """KL from the best policy, in nats; `way`: sumo, iwae, independent or autoregressive."""
    init, noise, drawn = jax.random.split(key, 3)
    batch, tau = config.policy_batch, config.temperature
    reward = Reward(jnp.asarray(couplings(run.seed)))
    losses: dict[str, Any] = {
        "sumo": OfSumo(reward, tau, batch),
        "iwae": OfIwae(reward, tau, batch, config.k),
    }
    loss = losses.get(way, OfExact(reward, tau, batch))

    # Two plans of n sizes each would be n^2 programs: one size, nearly always.
    ladder, tail = sumo.Ladder(1024, multiple=1024), sumo.PowerTail(config.s)

    def plans(i: int) -> Any:
        if way != "sumo":
            return None
        number = 1_000_003 * run.seed + i
        draw = partial(sumo.RowPlan.draw, ladder=ladder, stratified=True)
        return tuple(draw(2 * number + j, batch, tail, config.m) for j in (0, 1))

    if way in losses:
        policy: Any = latent(config, init)
    else:
        policy = explicit(config, init, coupled=way == "autoregressive")
    rate = config.policy_rate if way in losses else config.explicit_rate
    step = GradientStep(loss, adam(rate, config.policy_steps))
    state = step.init(policy)
    state = fit(run, step, state, plans, config.policy_steps, key=noise, log_every=250)
    log_z, best = log_partition(run.seed, tau)
    rewards, log_p = _scores(state.model, reward, config.policy_tests, drawn)
    return {
        "kl": float(np.mean(np.asarray(log_p, float) - np.asarray(rewards, float) / tau) + log_z),
        "mean_reward": float(jnp.mean(rewards)),
        "reward_gap": best - float(jnp.mean(rewards)),
        "entropy": -float(jnp.mean(log_p)),
        "clipped": float(state.opt_state[0].frequency),
    }


@eqx.filter_jit
def _scores(policy: Any, reward: Reward, n: int, key: Key) -> tuple[Array, Array]:
    """Rewards and log p of n draws; of a latent policy by a mixture of 16,384 draws of z."""
    first, second = jax.random.split(key)
    draw = policy.joint.sample if isinstance(policy, Nets) else policy.sample
    x = jax.vmap(draw)(jax.random.split(first, n))
    rewards = jax.vmap(reward)(x)
    if not isinstance(policy, Nets):
        return rewards, jax.vmap(policy.log_prob)(x)
    zs = jax.random.normal(second, (16, 1024, LATENT), jnp.float32)

    def part(total: Array, z: Array) -> tuple[Array, None]:
        logits = policy.joint.net(z)
        each = x @ logits.T - jnp.sum(jax.nn.softplus(logits), axis=-1)[None]
        return jnp.logaddexp(total, jax.nn.logsumexp(each, axis=1)), None

    total, _ = jax.lax.scan(part, jnp.full(n, -jnp.inf, jnp.float32), zs)
    return rewards, total - jnp.log(jnp.asarray(16.0 * 1024, jnp.float32))
