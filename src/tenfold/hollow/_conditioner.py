"""What a conditioner is, and how time and context enter one."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike


class Conditioner(eqx.Module):
    """c of h = c(t, x, args), of shape (d, d_h), in which row h_i does not depend on entry x_i.

    Entries are numbered in row-major order. Subclass it, or write any Module or function of that
    signature; `check_hollow` proves that it keeps the promise.
    """

    @abc.abstractmethod
    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Float[Array, "d d_h"]:
        """h of one example."""


class Offset(eqx.Module):
    """b + t w + args C, (width,): what a first layer adds for the time and a context vector."""

    bias: Float[Array, " width"]
    time: Float[Array, " width"]
    context: Float[Array, "context width"] | None

    def __init__(self, width: int, context: int, dtype: DTypeLike | None, key: Key) -> None:
        dtype = jnp.zeros((), dtype).dtype
        biases, times, contexts = jax.random.split(key, 3)
        self.bias = jax.random.uniform(biases, (width,), dtype, -0.5, 0.5)
        self.time = jax.random.uniform(times, (width,), dtype, -1, 1)
        self.context = None
        if context:
            limit = 1 / math.sqrt(context)
            self.context = jax.random.uniform(contexts, (context, width), dtype, -limit, limit)

    def __call__(self, t: RealScalarLike, args: Any) -> Float[Array, " width"]:
        out = self.bias + jnp.asarray(t, self.bias.dtype) * self.time
        if self.context is None:
            return out
        size = self.context.shape[0]
        if getattr(args, "shape", None) != (size,):
            raise ValueError(
                f"`args` must be the context, an array of shape ({size},), got {args!r}"
            )
        return out + args @ self.context


def uniform(key: Key, shape: tuple[int, ...], fan_in: int, dtype: DTypeLike | None) -> Array:
    """Uniform in +-1/sqrt(fan_in)."""
    limit = 1 / math.sqrt(max(1, fan_in))
    return jax.random.uniform(key, shape, jnp.zeros((), dtype).dtype, -limit, limit)


def check_sizes(owner: str, **sizes: int) -> None:
    """A ValueError that names the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{owner}: `{name}` must be at least 1, got {size}")


def check_shape(owner: str, x: Array, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ValueError(
            f"{owner} was made for one example of shape {shape}, got {x.shape}; for a batch use "
            "`jax.vmap` or `tenfold.base.vmapped`"
        )
