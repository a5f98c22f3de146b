"""Layers and MLPs on the last axis: all leading axes share one matrix product a layer."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key


class Dense(eqx.Module):
    """x W + b on the last axis of x."""

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        scale: float = 1.0,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """W is uniform in +-scale/sqrt(in_size), b is 0.

        **Arguments:** `scale`: small for a last layer that should begin near 0. `dtype`: by
        default JAX's float.
        """
        limit = scale / math.sqrt(in_size)
        dtype = jnp.zeros((), dtype).dtype
        self.weight = jax.random.uniform(key, (in_size, out_size), dtype, -limit, limit)
        self.bias = jnp.zeros(out_size, dtype)

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
        out = x @ self.weight
        return out + jnp.broadcast_to(self.bias, out.shape)


class DenseMLP(eqx.Module):
    """`depth` hidden layers on the last axis: (..., in_size) -> (..., out_size).

    Unlike `eqx.nn.MLP` it takes a batch of any shape, as the state of an SDE is.
    """

    layers: tuple[Dense, ...]
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        width: int,
        depth: int = 1,
        *,
        activation: Callable = jax.nn.softplus,
        last_scale: float = 1.0,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:**

        - `width`, `depth`: size and number of the hidden layers; depth 0 is one linear layer.
        - `activation`: a function of arrays (static; it has no parameters).
        - `last_scale`: of the last layer's weights, against the usual.

        **Raises:** ValueError if a size is not positive.
        """
        if min(in_size, out_size, width) < 1 or depth < 0:
            raise ValueError(
                f"DenseMLP needs sizes >= 1 and depth >= 0, got {in_size}, {out_size}, {width}, "
                f"{depth}"
            )
        sizes = [in_size, *[width] * depth, out_size]
        scales = [1.0] * depth + [last_scale]
        keys = jax.random.split(key, depth + 1)
        self.layers = tuple(
            Dense(i, o, scale=s, dtype=dtype, key=k)
            for i, o, s, k in zip(sizes[:-1], sizes[1:], scales, keys)
        )
        self.activation = activation

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x)


class PerDimension(eqx.Module):
    """One small net an entry: output i is a function of input i alone. (..., d) -> (..., d).

    out_i = sum_j v_ij act(w_ij z_i + b_ij) + c_i. What the diffusion of diagonal noise must be.
    """

    inner: Float[Array, "d width"]
    inner_bias: Float[Array, "d width"]
    outer: Float[Array, "d width"]
    outer_bias: Float[Array, " d"]
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        width: int,
        *,
        activation: Callable = jax.nn.softplus,
        last_scale: float = 1.0,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        dtype = jnp.zeros((), dtype).dtype
        first, second, third = jax.random.split(key, 3)
        limit = last_scale / math.sqrt(width)
        self.inner = jax.random.uniform(first, (size, width), dtype, -1, 1)
        self.inner_bias = jax.random.uniform(second, (size, width), dtype, -1, 1)
        self.outer = jax.random.uniform(third, (size, width), dtype, -limit, limit)
        self.outer_bias = jnp.zeros(size, dtype)
        self.activation = activation

    def __call__(self, z: Float[Array, "... d"]) -> Float[Array, "... d"]:
        shape = (*z.shape, self.inner.shape[-1])
        w, b, v = (jnp.broadcast_to(p, shape) for p in (self.inner, self.inner_bias, self.outer))
        out = jnp.sum(self.activation(z[..., None] * w + b) * v, axis=-1)
        return out + jnp.broadcast_to(self.outer_bias, z.shape)
