"""The latent SDE: what it is made of (arXiv 2001.01328, section 5)."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, DTypeLike, Float, PyTree

from tenfold.sde._sde import SDE, Calculus, Field, NoiseType

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Encoding(eqx.Module):
    """What an encoder says of a batch of series: q(z0), and what the posterior's drift sees."""

    mean: Float[Array, "batch d"]
    scale: Float[Array, "batch d"]
    """Standard deviation of q(z0)."""
    shared: PyTree = None
    """Seen at all times."""
    context: PyTree = None
    """Seen between ts[i] and ts[i + 1]: leaves of leading axis T - 1."""


Encoder = Callable[
    [Float[Array, "batch T D"], Float[Array, " T"], Bool[Array, "batch T D"]], Encoding
]
"""`(xs, ts, mask) -> Encoding`; what the mask hides must not be looked at."""


class DiagonalNormal(eqx.Module):
    """N(mean, diag(scale^2)) with learnable mean and scale; p(z0)."""

    mean: Float[Array, " d"]
    log_scale: Float[Array, " d"]
    floor: float = eqx.field(static=True, default=1e-3)

    @property
    def scale(self) -> Float[Array, " d"]:
        return self.floor + jnp.exp(self.log_scale)


class Gaussian(eqx.Module):
    """p(x | z) = N(x; decoded, diag(scale^2)), with a learnable scale that has a floor.

    A scale that is fixed and wrong ruins a latent SDE; without a floor it may run to 0.
    """

    log_scale: Float[Array, " D"]
    floor: float = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        *,
        scale: float = 0.5,
        floor: float = 1e-2,
        dtype: DTypeLike | None = None,
    ) -> None:
        """`size` channels, all of `scale` (above `floor`) at the start."""
        if not scale > floor >= 0:
            raise ValueError(f"Gaussian: scale > floor >= 0 is needed, got {scale}, {floor}")
        dtype = jnp.zeros((), dtype).dtype
        self.log_scale = jnp.full(size, math.log(scale - floor), dtype)
        self.floor = floor

    @property
    def scale(self) -> Float[Array, " D"]:
        return self.floor + jnp.exp(self.log_scale)

    def log_prob(self, x: Float[Array, "... D"], mean: Float[Array, "... D"]) -> Array:
        """Of each entry by itself, (..., D), so that gaps can be left out."""
        scale = jnp.broadcast_to(self.scale, x.shape)
        return -0.5 * ((x - mean) / scale) ** 2 - jnp.log(scale) - _HALF_LOG_2PI

    def draw(self, mean: Float[Array, "... D"], key: Array) -> Float[Array, "... D"]:
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return mean + jnp.broadcast_to(self.scale, mean.shape) * noise


class LatentSDE(eqx.Module):
    r"""A series x as noisy looks at a hidden diffusion z, and an approximate posterior of z.

    $$\text{prior } dz = h\,dt + g\,dW, \qquad \text{posterior } dz = f\,dt + g\,dW, \qquad
      x_i \sim p(x \mid decoder(z(t_i)))$$

    **Arguments:** the pieces, each a Module or a function. Fields act on z of shape (..., d), with
    leading axes (samples, batch).

    - `encoder`: see `Encoder`.
    - `posterior`: f, `(t, z, args)`. `args` is the encoding's `shared`, its `context` of the
      interval, or the pair of them: whatever there is.
    - `prior`, `diffusion`: h and g, `(t, z, args)` with `args=None`. Without a diffusion (`None`)
      the model is a latent ODE: dz = f dt, and the path costs nothing.
    - `decoder`: (..., d) -> (..., D), the mean of x.
    - `z0_prior`: p(z0). `observation`: p(x | z) given the decoder's output.
    - `noise`, `kind`: of both equations. The calculus changes what f and h mean, not their
      divergence. Stratonovich by default: no scheme then needs a correction.

    `latent_sde` builds the common case.
    """

    encoder: Encoder
    posterior: Field
    prior: Field
    diffusion: Field | None
    decoder: Callable[[Array], Array]
    z0_prior: DiagonalNormal
    observation: Gaussian
    noise: NoiseType = eqx.field(static=True, default="diagonal")
    kind: Calculus = eqx.field(static=True, default="stratonovich")

    def posterior_sde(self) -> SDE:
        return self._sde(_Told(self.posterior))

    def prior_sde(self) -> SDE:
        return self._sde(_Alone(self.prior))

    def _sde(self, drift: Field) -> SDE:
        if self.diffusion is None:
            return SDE(drift, _nothing, noise="diagonal", kind=self.kind)
        return SDE(drift, _Alone(self.diffusion), noise=self.noise, kind=self.kind)


class _Alone(eqx.Module):
    """A field that sees neither context nor arguments."""

    field: Field

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        del args
        return self.field(t, z, None)


class _Told(eqx.Module):
    """A field that sees whatever there is of (shared, context)."""

    field: Field

    def __call__(self, t: Any, z: Array, args: Any) -> Array:
        if isinstance(args, tuple) and len(args) == 2 and args[0] is None:
            args = args[1]
        return self.field(t, z, args)


def _nothing(t: Any, z: Array, args: Any) -> Array:
    del t, args
    return jnp.zeros_like(z)


def kl_weight(step: Any, warm_up: int, beta: float = 1.0) -> Array:
    """beta min(1, (step + 1) / warm_up): the divergence's weight, from almost 0 up to beta."""
    return beta * jnp.minimum(1.0, (jnp.asarray(step, jnp.float32) + 1) / max(1, warm_up))
