"""Densities that move: mixtures of diagonal Gaussians whose parameters depend on time."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike, Scalar
from tenfold.nets import DenseMLP

Parameters = tuple[Array, Array, Array]
"""Logits (M,), means (M, d), standard deviations (M, d)."""


class MixturePath(eqx.Module):
    r"""p(t, x) = sum_m w_m(t) N(x; mu_m(t), diag sigma_m(t)^2), with score and curvature.

    With r the responsibilities and a_m = -(x - mu_m)/sigma_m^2,

    $$s = \sum_m r_m a_m, \qquad
      \partial_i s_i = \sum_m r_m (a_{mi}^2 - \sigma_{mi}^{-2}) - s_i^2.$$

    **Arguments:** `parameters`: `t -> (logits (M,), means (M, d), scales (M, d))`, such as
    `KnotMixture`, `NeuralMixture`, or a function in closed form.
    """

    parameters: Callable[[Any], Any]

    def __call__(self, t: RealScalarLike, x: Float[Array, " d"]) -> Scalar:
        """log p(t, x)."""
        return jax.nn.logsumexp(self._terms(t, x)[0])

    def log_prob(self, t: RealScalarLike, x: Float[Array, " d"]) -> Scalar:
        return self(t, x)

    def score(self, t: RealScalarLike, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """The gradient of log p."""
        return self.score_and_curvature(t, x)[0]

    def laplacian(self, t: RealScalarLike, x: Float[Array, " d"]) -> Scalar:
        """The sum of the second derivatives of log p."""
        return jnp.sum(self.score_and_curvature(t, x)[1])

    def score_and_curvature(
        self, t: RealScalarLike, x: Float[Array, " d"]
    ) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """s and the diagonal of the Hessian of log p, in closed form."""
        logs, pulls, precisions = self._terms(t, x)
        r = jax.nn.softmax(logs)
        s = r @ pulls
        return s, r @ (pulls**2 - precisions) - s**2

    def sample(self, key: Key, t: RealScalarLike) -> Float[Array, " d"]:
        """One x ~ p(t, .)."""
        which, noise = jax.random.split(key)
        logits, means, scales = self.parameters(t)
        m = jax.random.categorical(which, logits)
        return means[m] + scales[m] * jax.random.normal(noise, means.shape[1:], means.dtype)

    def _terms(self, t: RealScalarLike, x: Array) -> tuple[Array, Array, Array]:
        logits, means, scales = self.parameters(t)
        if means.ndim != 2 or means.shape[1:] != x.shape:
            raise ValueError(
                f"MixturePath: `x` must have shape {means.shape[1:]}, that of a component's mean; "
                f"got {x.shape}"
            )
        z = (x[None] - means) / scales
        normal = -jnp.sum(z**2 / 2 + jnp.log(scales) + 0.5 * math.log(2 * math.pi), axis=1)
        return jax.nn.log_softmax(logits) + normal, -z / scales, scales**-2


class KnotMixture(eqx.Module):
    """Parameters by cubic interpolation between knots in time: no network, and C^1.

    Before the first knot and after the last they stay what they are there.

    **Arguments:** `times` (K,), increasing; `logits` (K, M), `means` (K, M, d) and `log_scales`
    (K, M, d), the values there. Slopes at inner knots are those of the parabola through three.

    **Raises:** ValueError for other shapes, or times that do not increase.
    """

    times: Float[Array, " K"]
    logits: Float[Array, "K M"]
    means: Float[Array, "K M d"]
    log_scales: Float[Array, "K M d"]

    def __init__(self, times: Array, logits: Array, means: Array, log_scales: Array) -> None:
        _check_knots(times, logits, means, log_scales)
        self.times, self.logits = times, logits
        self.means, self.log_scales = means, log_scales

    def __call__(self, t: RealScalarLike) -> Parameters:
        times = jax.lax.stop_gradient(self.times)
        t = _held_within(jnp.asarray(t, times.dtype), times[0], times[-1])
        i = jnp.clip(jnp.searchsorted(times, t, side="right") - 1, 0, times.shape[0] - 2)
        h = times[i + 1] - times[i]
        u = (t - times[i]) / h
        weights = (1 - u) ** 2 * (1 + 2 * u), u**2 * (3 - 2 * u), u * (1 - u) ** 2, u**2 * (u - 1)

        def at(values: Array) -> Array:
            slopes = _slopes(times, values)
            ends = values[i], values[i + 1], h * slopes[i], h * slopes[i + 1]
            return sum(w * e for w, e in zip(weights, ends))  # pyright: ignore

        return at(self.logits), at(self.means), jnp.exp(at(self.log_scales))


def _check_knots(times: Array, logits: Array, means: Array, log_scales: Array) -> None:
    k = times.size
    if times.ndim != 1 or k < 2:
        raise ValueError(f"KnotMixture: `times` needs at least 2 knots, (K,); got {times.shape}")
    if not isinstance(times, Tracer) and not (np.diff(times) > 0).all():
        raise ValueError(f"KnotMixture: `times` must increase, got {np.asarray(times)}")
    shapes = logits.shape, means.shape, log_scales.shape
    if means.ndim != 3 or shapes != (means.shape[:2], means.shape, means.shape):
        raise ValueError(
            "KnotMixture: `logits` must have shape (K, M), and `means` and `log_scales` (K, M, d); "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    if logits.shape[0] != k:
        raise ValueError(
            f"KnotMixture: `logits`, `means` and `log_scales` must have a row for each of the {k} "
            f"`times`, got {logits.shape[0]} rows"
        )


def _held_within(t: Array, first: Array, last: Array) -> Array:
    # Not `clip`, whose slope at the ends themselves is a half.
    return jnp.where(t < first, first, jnp.where(t > last, last, t))


def _slopes(times: Array, values: Array) -> Array:
    gaps = jnp.diff(times).reshape(-1, *[1] * (values.ndim - 1))
    secants = jnp.diff(values, axis=0) / gaps
    before, after = gaps[:-1], gaps[1:]
    inner = (after * secants[:-1] + before * secants[1:]) / (before + after)
    return jnp.concatenate([secants[:1], inner, secants[-1:]])


class NeuralMixture(eqx.Module):
    """Parameters by one MLP of t, smooth; means begin spread as standard normals."""

    net: DenseMLP
    centres: Float[Array, "M d"]

    def __init__(
        self,
        size: int,
        components: int,
        width: int = 64,
        depth: int = 2,
        *,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:** `size`: d. `components`: M. `width`, `depth`: of the MLP."""
        inner, outer = jax.random.split(key)
        out = components * (1 + 2 * size)
        self.net = DenseMLP(1, out, width, depth, activation=jnp.tanh, dtype=dtype, key=inner)
        dtype = jnp.zeros((), dtype).dtype
        self.centres = jax.random.normal(outer, (components, size), dtype)

    def __call__(self, t: RealScalarLike) -> Parameters:
        m, d = self.centres.shape
        out = self.net(jnp.asarray(t, self.centres.dtype)[None])
        moved, logs = out[m : m + m * d].reshape(m, d), out[m + m * d :].reshape(m, d)
        return out[:m], self.centres + moved, jnp.exp(logs)
