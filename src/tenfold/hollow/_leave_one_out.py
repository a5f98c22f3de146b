"""The leave-one-out MLP: exact, and without a bottleneck before h."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike
from tenfold.hollow._conditioner import Conditioner, Offset, check_shape, check_sizes, uniform
from tenfold.hollow._exclusive import exclusive_sum
from tenfold.nets import DenseMLP


class LeaveOneOutMLP(Conditioner):
    r"""h_i = MLP(sum_{j != i} W_j x_j + e_i): one net, run d times on what is left without x_i.

    The sums are of what stands before i and after it, and not of all less W_i x_i, so the values
    too are independent of x_i, to the last bit. e_i is a learnt embedding of the index: without it
    all h_i would be equal at x = 0.

    **Cost:** d times the layers after the first; better than `MaskedMLP` for small d only.
    """

    first: Float[Array, "d width"]
    index: Float[Array, "d width"]
    offset: Offset
    rest: DenseMLP
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        d_h: int,
        width: int,
        depth: int = 1,
        *,
        context: int = 0,
        activation: Callable = jnp.tanh,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """Arguments as `MaskedMLP`'s; `width` may be any."""
        check_sizes("LeaveOneOutMLP", size=size, d_h=d_h, width=width, depth=depth)
        first, index, offset, rest = jax.random.split(key, 4)
        self.first = uniform(first, (size, width), size - 1, dtype)
        self.index = uniform(index, (size, width), 1, dtype)
        self.offset = Offset(width, context, dtype, offset)
        self.rest = DenseMLP(
            width, d_h, width, depth - 1, activation=activation, dtype=dtype, key=rest
        )
        self.activation = activation

    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Float[Array, "d d_h"]:
        """h at (t, x): x has shape (d,), or any other of d entries."""
        check_shape("LeaveOneOutMLP", x.reshape(-1), self.first.shape[:1])
        left = exclusive_sum(self.first * x.reshape(-1, 1))
        return self.rest(self.activation(left + self.index + self.offset(t, args)[None]))
