"""A latent SDE of which everything is known: an OU process seen with Gaussian noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold.sde import DiagonalNormal, Encoding, Gaussian, LatentSDE

TS = np.array([0.0, 0.3, 0.4, 0.9])
RATE, SPREAD, NOISE, START = 0.8, 0.7, 0.4, (0.5, 0.9)
"""dz = -RATE z dt + SPREAD dW, z0 ~ N(*START), x = z + NOISE e."""


def covariance(ts):
    """Of z at the times `ts`, and its mean."""
    s, t = np.meshgrid(ts, ts, indexing="ij")
    both = np.exp(-RATE * (s + t))
    stationary = SPREAD**2 / (2 * RATE)
    cov = stationary * (np.exp(-RATE * abs(s - t)) - both) + START[1] ** 2 * both
    return START[0] * np.exp(-RATE * ts), cov


def log_evidence(xs, seen=None):
    """log p(x) of one series (T,), by the Gaussian formula; of the entries `seen`."""
    seen = np.ones(len(TS), bool) if seen is None else np.asarray(seen)
    mean, cov = covariance(TS)
    cov = (cov + NOISE**2 * np.eye(len(TS)))[np.ix_(seen, seen)]
    gap = np.asarray(xs)[seen] - mean[seen]
    return -0.5 * (
        gap @ np.linalg.solve(cov, gap) + np.linalg.slogdet(cov)[1] + seen.sum() * np.log(2 * np.pi)
    )


def draw(key, batch):
    mean, cov = covariance(TS)
    cov = jnp.asarray(cov + NOISE**2 * np.eye(len(TS)))
    return jax.random.multivariate_normal(key, jnp.asarray(mean), cov, (batch,))[..., None]


def future(t, x, z, ahead):
    """d/dz log p(future x | z(t) = z). `x` (batch, T), `z` (..., batch, 1), `ahead` (T,)."""
    gaps = jnp.where(ahead, TS - t, 0.0)
    a = jnp.where(ahead, jnp.exp(-RATE * gaps), 0.0)
    outer = a[:, None] * a[None, :]
    both = jnp.exp(-RATE * jnp.abs(gaps[:, None] - gaps[None, :])) - outer
    known = ahead[:, None] & ahead[None, :]
    cov = jnp.where(known, SPREAD**2 / (2 * RATE) * both, 0.0)
    cov = cov + jnp.diag(jnp.where(ahead, NOISE**2, 1.0))
    weights = jnp.linalg.solve(cov, a)
    return ((jnp.where(ahead, x, 0.0) @ weights)[:, None] - (a @ weights) * z[0])[None]


class Prior(eqx.Module):
    rate: jax.Array

    def __call__(self, t, z, args):
        return -self.rate * z


class Spread(eqx.Module):
    value: jax.Array

    def __call__(self, t, z, args):
        return jnp.broadcast_to(self.value, z.shape)


class Posterior(eqx.Module):
    """The true one where `gain` is 1. One sample (z is (1, batch, 1)) or several, by vmap."""

    gain: jax.Array

    def __call__(self, t, z, args):
        x, ahead = args
        pull = jax.vmap(lambda z: future(t, x, z[None], ahead)[0])(z)
        return -RATE * z + self.gain * SPREAD**2 * pull


class Encoder(eqx.Module):
    """The true q(z0) where `shift` is 0."""

    shift: jax.Array

    def __call__(self, xs, ts, mask):
        _, cov = covariance(TS)
        seen = np.asarray(cov + NOISE**2 * np.eye(len(TS)))
        weights = np.linalg.solve(seen, cov[0])
        mean = START[0] + (xs[..., 0] - covariance(TS)[0][None]) @ weights
        scale = np.sqrt(cov[0, 0] - cov[0] @ weights)
        ahead = jnp.arange(len(TS))[None, :] > jnp.arange(len(TS) - 1)[:, None]
        return Encoding(
            mean[:, None] + self.shift,
            jnp.full((xs.shape[0], 1), scale),
            shared=xs[..., 0],
            context=ahead,
        )


def exact_model(gain=1.0, shift=0.0):
    return LatentSDE(
        encoder=Encoder(jnp.asarray(shift)),
        posterior=Posterior(jnp.asarray(gain)),
        prior=Prior(jnp.asarray(RATE)),
        diffusion=Spread(jnp.asarray(SPREAD)),
        decoder=lambda z: z,
        z0_prior=DiagonalNormal(jnp.array([START[0]]), jnp.log(jnp.array([START[1]])), floor=0.0),
        observation=Gaussian(1, scale=NOISE, floor=0.0),
    )
