"""z ~ N(0, 1), x | z ~ N(z + theta, 1): log p(x) = -log(4 pi)/2 - (x - theta)^2/4."""

import math
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold.sumo import DiagonalNormal


def xs():
    """Four data, in JAX's float."""
    return jnp.asarray([1.0, -0.3, 2.0, 0.4])


class Joint(eqx.Module):
    theta: jax.Array

    def __call__(self, x, z):
        residual = x - self.theta - z
        return -0.5 * (residual**2 + z**2) - math.log(2 * math.pi)


class Encoder(eqx.Module):
    """N(slope x + shift, scale^2), off the posterior N((x - theta)/2, 1/2)."""

    slope: jax.Array
    shift: jax.Array
    log_scale: jax.Array

    def __call__(self, x):
        return DiagonalNormal(self.slope * x + self.shift, jnp.exp(self.log_scale))


def model(theta=0.0, dtype=None):
    return Joint(jnp.asarray(theta, dtype)), Encoder(
        jnp.asarray(0.1, dtype), jnp.asarray(0.1, dtype), jnp.log(jnp.asarray(0.9, dtype))
    )


def truth(x, theta=0.0):
    return -0.5 * math.log(4 * math.pi) - (x - theta) ** 2 / 4


def brute(logw, k, tail, m, kind):
    """The definition, in NumPy loops."""
    logw = np.asarray(logw, np.float64)
    mean = lambda some: np.logaddexp.reduce(some) - math.log(len(some))  # noqa: E731
    if kind == "antithetic":
        n = m * 2**k
        halves = mean(logw[: n // 2]), mean(logw[n // 2 : n])
        base = np.mean([mean(logw[i : i + m]) for i in range(0, n, m)])
        p = tail.survival(k) - tail.survival(k + 1)
        return base + (mean(logw[:n]) - np.mean(halves)) / p
    total = mean(logw[:m])
    for j in range(1, k + 1):
        n = m + j
        if kind == "paper":
            less = mean(logw[: n - 1])
        else:
            less = np.mean([mean(np.delete(logw[:n], i)) for i in range(n)])
        total += (mean(logw[:n]) - less) / tail.survival(j)
    return total


def atoms(tail, n):
    """Pr(K = 1), ..., Pr(K = n - 1), Pr(K >= n)."""
    survival = [float(tail.survival(j)) for j in range(1, n + 1)]
    return [a - b for a, b in pairwise(survival)] + survival[-1:]
