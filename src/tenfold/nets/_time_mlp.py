"""An MLP vector field that sees the time in every layer."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike


class TimeLinear(eqx.Module):
    """W y + t w + b: a linear layer on y with the time appended, [W w] [y; t] + b.

    W and w are kept apart, so that the layer is one dense product with no copy of y, and the time
    term is computed once for a batch that shares its time.
    """

    weight: Float[Array, "out in"]
    time_weight: Float[Array, " out"]
    bias: Float[Array, " out"]

    def __init__(
        self, in_size: int, out_size: int, *, dtype: DTypeLike | None = None, key: Key
    ) -> None:
        """All parameters are uniform in +-1/sqrt(in_size + 1), as `eqx.nn.Linear` on [y; t].

        **Arguments:** `in_size`, `out_size` without the time; `dtype`, by default JAX's float.
        """
        limit = 1 / math.sqrt(in_size + 1)
        weights, bias = jax.random.split(key)
        dtype = jnp.zeros((), dtype).dtype
        joint = jax.random.uniform(weights, (out_size, in_size + 1), dtype, -limit, limit)
        self.weight, self.time_weight = joint[:, :-1], joint[:, -1]
        self.bias = jax.random.uniform(bias, (out_size,), dtype, -limit, limit)

    def __call__(self, t: Float[Array, ""], y: Float[Array, " in"]) -> Float[Array, " out"]:
        return self.weight @ y + (t * self.time_weight + self.bias)


class TimeMLP(eqx.Module):
    """A vector field: `depth` hidden layers, with the time appended to the input of every layer.

    y -> act -> [., t] -> Linear(width) -> act -> [., t] -> Linear(size); the first act only if
    `activate_input`. With depth 1, width 100 and size 784 this is the dynamics of the MNIST neural
    ODE of Kelly et al. (2020, arXiv 2007.04504, section 5.1).
    """

    layers: tuple[TimeLinear, ...]
    activation: Callable = eqx.field(static=True)
    activate_input: bool = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        width: int,
        depth: int = 1,
        *,
        activation: Callable = jnp.tanh,
        activate_input: bool = True,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:**

        - `size`: length of the state.
        - `width`, `depth`: size and number of the hidden layers; depth 0 is one linear layer.
        - `activation`: a function of arrays (static; it has no parameters).
        - `activate_input`: whether the state itself passes the activation first.
        - `dtype`: of the parameters; the state must have it too. By default JAX's float.

        **Raises:** ValueError if a size is not positive.
        """
        if min(size, width) < 1 or depth < 0:
            raise ValueError(
                f"TimeMLP needs size >= 1, width >= 1, depth >= 0, got {size}, {width}, {depth}."
            )
        sizes = [size, *[width] * depth, size]
        keys = jax.random.split(key, depth + 1)
        pairs = zip(sizes[:-1], sizes[1:], keys)
        self.layers = tuple(TimeLinear(i, o, dtype=dtype, key=k) for i, o, k in pairs)
        self.activation = activation
        self.activate_input = activate_input

    def __call__(self, t: RealScalarLike, y: Array, args: Any = None) -> Array:
        """dy/dt at (t, y), of y's shape (size,) and dtype; t of any real dtype is cast to it.

        **Raises:** ValueError unless y is one example of shape (size,) with the parameters' dtype.
        **Cost:** one dense product a layer, also under `vmap`.
        """
        del args
        self._check(y)
        t = jnp.asarray(t, y.dtype)
        if self.activate_input:
            y = self.activation(y)
        y = self.layers[0](t, y)
        for layer in self.layers[1:]:
            y = layer(t, self.activation(y))
        return y

    def _check(self, y: Array) -> None:
        weight = self.layers[0].weight
        size = weight.shape[-1]
        if y.shape != (size,):
            raise ValueError(
                f"TimeMLP takes one state of shape ({size},), got {y.shape}. For a batch use "
                "`jax.vmap(net, in_axes=(None, 0, None))` or `tenfold.base.vmapped(net)`."
            )
        if y.dtype != weight.dtype:
            raise ValueError(
                f"TimeMLP's parameters are {weight.dtype} but the state is {y.dtype}: build the "
                f"net with `dtype=jnp.{y.dtype}`, or cast one of them."
            )
