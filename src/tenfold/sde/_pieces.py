"""Pieces of a latent SDE that cannot blow up, and the model made of them."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, DTypeLike, Float

from tenfold.base.typing import Key
from tenfold.nets import BackwardGRU, Dense, DenseMLP, PerDimension
from tenfold.sde._latent import DiagonalNormal, Encoding, Gaussian, LatentSDE

_SCALE_FLOOR = 1e-3


class BoundedDrift(eqx.Module):
    """bound tanh(net(z, context) / bound) - rate z: bounded far out, and contracting.

    So the flow keeps |z| below about bound / rate, however long it runs. So does a scheme such as
    `Heun` whose steps are not too long for the net, and reversible Heun where two of `ts` are no
    more than about 3 / rate apart. The rates are learnable and positive, one a dimension.
    """

    net: DenseMLP
    raw_rate: Float[Array, " d"]
    bound: float = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        width: int,
        depth: int = 1,
        *,
        context: int = 0,
        rate: float = 0.1,
        bound: float = 10.0,
        last_scale: float = 0.1,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:** `context`: length of what `args` appends to z (0: `args` is ignored);
        `rate`: at the start; `last_scale`: of the last layer, so that f begins near -rate z."""
        self.net = DenseMLP(
            size + context, size, width, depth, last_scale=last_scale, dtype=dtype, key=key
        )
        self.raw_rate = jnp.full(size, math.log(math.expm1(rate)), self.net.layers[0].weight.dtype)
        self.bound = bound

    def __call__(self, t: Any, z: Float[Array, "... d"], args: Any) -> Float[Array, "... d"]:
        del t
        if self.net.layers[0].weight.shape[0] > z.shape[-1]:
            seen = jnp.broadcast_to(args, (*z.shape[:-1], args.shape[-1]))
            out = self.net(jnp.concatenate([z, seen], axis=-1))
        else:
            out = self.net(z)
        rate = jnp.broadcast_to(jax.nn.softplus(self.raw_rate), z.shape)
        return self.bound * jnp.tanh(out / self.bound) - rate * z


class BoundedDiffusion(eqx.Module):
    """floor + (ceiling - floor) sigmoid(net_i(z_i)): diagonal, and never near 0.

    The floor bounds u = (f - h) / g. It also keeps the posterior from becoming an ODE, which
    costs it infinitely much.
    """

    net: PerDimension
    floor: float = eqx.field(static=True)
    ceiling: float = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        width: int = 16,
        *,
        floor: float = 0.05,
        ceiling: float = 1.0,
        start: float = 0.3,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:** `start`: the value at the start, about; between `floor` and `ceiling`."""
        if not 0 < floor < start < ceiling:
            raise ValueError(
                f"BoundedDiffusion: 0 < floor < start < ceiling is needed, got {floor}, {start}, "
                f"{ceiling}"
            )
        net = PerDimension(size, width, last_scale=0.1, dtype=dtype, key=key)
        share = (start - floor) / (ceiling - floor)
        bias = jnp.full_like(net.outer_bias, math.log(share / (1 - share)))
        self.net = eqx.tree_at(lambda n: n.outer_bias, net, bias)
        self.floor, self.ceiling = floor, ceiling

    def __call__(self, t: Any, z: Float[Array, "... d"], args: Any) -> Float[Array, "... d"]:
        del t, args
        return self.floor + (self.ceiling - self.floor) * jax.nn.sigmoid(self.net(z))


def _normal(out: Array, size: int) -> tuple[Array, Array]:
    """Mean and scale of q(z0), and a scale that begins at about a tenth."""
    return out[..., :size], _SCALE_FLOOR + jax.nn.softplus(out[..., size : 2 * size] - 2.25)


def _check_series(name: str, xs: Array, channels: int) -> None:
    if xs.shape[-1] != channels:
        raise ValueError(
            f"{name}: made for series of {channels} channels, `xs` (batch, T, D) has {xs.shape}"
        )


class FramesEncoder(eqx.Module):
    """An MLP on the first `frames` of a series: q(z0), and one context for all times.

    It sees nothing later, so the posterior can forecast. Hidden entries are read as 0.
    """

    net: DenseMLP
    frames: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        latent: int,
        context: int,
        *,
        frames: int,
        width: int,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        self.net = DenseMLP(frames * channels, 2 * latent + context, width, dtype=dtype, key=key)
        self.frames, self.latent = frames, latent

    def __call__(
        self,
        xs: Float[Array, "batch T D"],
        ts: Float[Array, " T"],
        mask: Bool[Array, "batch T D"],
    ) -> Encoding:
        del ts
        _check_series("FramesEncoder", xs, self.net.layers[0].weight.shape[0] // self.frames)
        if xs.shape[1] < self.frames:
            raise ValueError(
                f"FramesEncoder: reads the first {self.frames} frames, `xs` has {xs.shape[1]}"
            )
        first = jnp.where(mask, xs, jnp.zeros_like(xs))[:, : self.frames]
        out = self.net(first.reshape(xs.shape[0], -1))
        mean, scale = _normal(out, self.latent)
        context = out[:, 2 * self.latent :]
        return Encoding(mean, scale, shared=context if context.shape[-1] else None)


class GRUEncoder(eqx.Module):
    """A GRU that reads backwards: q(z0) from its last state; between ts[i] and ts[i + 1], the
    state after i + 1, which sums up the future: all that the true posterior's drift depends on."""

    gru: BackwardGRU
    start: Dense
    context: Dense
    channels: int = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        latent: int,
        context: int,
        *,
        hidden: int,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        first, second, third = jax.random.split(key, 3)
        self.gru = BackwardGRU(channels, hidden, dtype=dtype, key=first)
        self.start = Dense(hidden, 2 * latent, dtype=dtype, key=second)
        self.context = Dense(hidden, context, dtype=dtype, key=third)
        self.channels, self.latent = channels, latent

    def __call__(
        self,
        xs: Float[Array, "batch T D"],
        ts: Float[Array, " T"],
        mask: Bool[Array, "batch T D"],
    ) -> Encoding:
        _check_series("GRUEncoder", xs, self.channels)
        states = self.gru(xs, ts, mask)
        mean, scale = _normal(self.start(states[0]), self.latent)
        return Encoding(mean, scale, context=self.context(states[1:]))


def latent_sde(
    channels: int,
    latent: int = 4,
    *,
    width: int = 64,
    context: int = 16,
    hidden: int = 64,
    frames: int | None = None,
    decoder_width: int | None = None,
    floor: float = 0.05,
    ceiling: float = 1.0,
    scale: float = 0.5,
    dtype: DTypeLike | None = None,
    key: Key,
) -> LatentSDE:
    """A `LatentSDE` for series of `channels`, with diagonal noise and bounded, contracting drifts.

    Scale the data to about unit size, and time so that what matters takes about one unit.

    **Arguments:**

    - `latent`: dimensions of z. `width`: of the drifts' hidden layer.
    - `context`: length of what the encoder tells the posterior.
    - `hidden`: of the encoder. By default a backward GRU over the whole series; with `frames`, an
      MLP on that many first frames.
    - `decoder_width`: of the decoder's hidden layer; by default it is linear.
    - `floor`, `ceiling`: of the diffusion. `scale`: of the observations, at the start.
    """
    keys = jax.random.split(key, 5)
    if frames is None:
        encoder = GRUEncoder(channels, latent, context, hidden=hidden, dtype=dtype, key=keys[0])
    else:
        encoder = FramesEncoder(
            channels, latent, context, frames=frames, width=hidden, dtype=dtype, key=keys[0]
        )
    zeros = jnp.zeros(latent, dtype)
    hidden_layers = 0 if decoder_width is None else 1
    return LatentSDE(
        encoder=encoder,
        posterior=BoundedDrift(latent, width, context=context, dtype=dtype, key=keys[1]),
        prior=BoundedDrift(latent, width, dtype=dtype, key=keys[2]),
        diffusion=BoundedDiffusion(
            latent,
            floor=floor,
            ceiling=ceiling,
            start=0.75 * floor + 0.25 * ceiling,
            dtype=dtype,
            key=keys[3],
        ),
        decoder=DenseMLP(
            latent, channels, decoder_width or 1, hidden_layers, dtype=dtype, key=keys[4]
        ),
        z0_prior=DiagonalNormal(zeros, zeros),
        observation=Gaussian(channels, scale=scale, dtype=dtype),
    )
