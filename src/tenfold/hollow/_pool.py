"""Sets: what a point may know of the others, whatever their number and order."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike
from tenfold.hollow._conditioner import Conditioner, Offset, check_sizes, uniform
from tenfold.hollow._exclusive import exclusive_max, exclusive_sum
from tenfold.nets import DenseMLP


class ExclusivePool(Conditioner):
    r"""h_ik = MLP(mean_{j != i} phi(x_j), max_{j != i} phi(x_j), x_i without its entry k).

    For sets of n points of c features: x has shape (n, c), or (n,) if c = 1. n may differ from
    call to call, and a net with this conditioner is equivariant: permuted points give permuted
    outputs.

    **Cost:** n evaluations of phi, n c of the rest.
    """

    phi: DenseMLP
    own: Float[Array, "c c width"]
    pooled: Float[Array, "both width"]
    offset: Offset
    rest: DenseMLP
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        d_h: int,
        width: int,
        depth: int = 1,
        *,
        features: int = 1,
        context: int = 0,
        activation: Callable = jnp.tanh,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:** `features`: c. The others as `MaskedMLP`'s."""
        check_sizes("ExclusivePool", d_h=d_h, width=width, depth=depth, features=features)
        phi, own, pooled, offset, rest = jax.random.split(key, 5)
        kind = {"activation": activation, "dtype": dtype}
        self.phi = DenseMLP(features, width, width, depth, key=phi, **kind)
        self.own = uniform(own, (features, features, width), features, dtype)
        self.pooled = uniform(pooled, (2 * width, width), width, dtype)
        self.offset = Offset(width, context, dtype, offset)
        self.rest = DenseMLP(width, d_h, width, depth - 1, key=rest, **kind)
        self.activation = activation

    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Float[Array, "d d_h"]:
        """h at (t, x), of shape (n c, d_h)."""
        c = self.own.shape[0]
        if x.ndim not in (1, 2) or (x.shape[1:] or (1,)) != (c,):
            raise ValueError(f"ExclusivePool takes points of {c} features, (n, {c}), got {x.shape}")
        points = x.reshape(-1, c)
        n = points.shape[0]
        phi = self.phi(points)
        mean = exclusive_sum(phi) / max(1, n - 1)
        pooled = jnp.concatenate([mean, exclusive_max(phi)], axis=1) @ self.pooled
        # Feature k of a point must not see itself; the others of its point it may.
        itself = jnp.eye(c, dtype=bool)[..., None]
        own = jnp.einsum("nq,kqw->nkw", points, jnp.where(itself, 0, self.own))
        hidden = own + pooled[:, None] + self.offset(t, args)[None, None]
        return self.rest(self.activation(hidden)).reshape(n * c, -1)
