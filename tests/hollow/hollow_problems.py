"""Conditioners of every kind at small sizes, and leaking ones."""

import equinox as eqx
import jax
import jax.numpy as jnp

from tenfold.hollow import (
    ExclusivePool,
    HollowAttention,
    HollowConv2d,
    LeaveOneOutMLP,
    MaskedMLP,
)

KINDS = {
    "masked": ((5,), lambda key: MaskedMLP(5, 3, 9, 2, key=key)),
    "masked-shallow": ((2, 3), lambda key: MaskedMLP(6, 4, 10, key=key)),
    "masked-narrow": ((4,), lambda key: MaskedMLP(4, 1, 6, 3, key=key)),
    "leave-one-out": ((5,), lambda key: LeaveOneOutMLP(5, 3, 8, 2, key=key)),
    "attention": ((4,), lambda key: HollowAttention(4, 3, 8, key=key)),
    "attention-deep": ((4,), lambda key: HollowAttention(4, 2, 4, 2, key=key)),
    "conv": ((1, 4, 5), lambda key: HollowConv2d(1, 3, 4, dilations=(1, 2), key=key)),
    "conv-channels": ((2, 3, 3), lambda key: HollowConv2d(2, 2, 4, dilations=(1, 1), key=key)),
    "pool": ((5,), lambda key: ExclusivePool(3, 8, 2, key=key)),
    "pool-points": ((4, 2), lambda key: ExclusivePool(3, 8, features=2, key=key)),
}
"""name -> (shape of x, key -> conditioner)."""

ONE = {
    "masked": ((1,), lambda key: MaskedMLP(1, 3, 4, key=key)),
    "leave-one-out": ((1,), lambda key: LeaveOneOutMLP(1, 3, 4, key=key)),
    "attention": ((1,), lambda key: HollowAttention(1, 3, 4, 1, key=key)),
    "conv": ((1, 1, 1), lambda key: HollowConv2d(1, 3, 4, dilations=(1,), key=key)),
    "pool": ((1,), lambda key: ExclusivePool(3, 4, key=key)),
}
TWO = {
    "masked": ((2,), lambda key: MaskedMLP(2, 3, 4, key=key)),
    "leave-one-out": ((2,), lambda key: LeaveOneOutMLP(2, 3, 4, key=key)),
    "attention": ((2,), lambda key: HollowAttention(2, 3, 4, 1, key=key)),
    "conv": ((1, 1, 2), lambda key: HollowConv2d(1, 3, 4, dilations=(1,), key=key)),
    "pool": ((2,), lambda key: ExclusivePool(3, 4, key=key)),
}


class Leaky(eqx.Module):
    """A hollow conditioner, and then something that lets x_i in."""

    inner: MaskedMLP
    how: str = eqx.field(static=True)

    def __call__(self, t, x, args=None):
        h = self.inner(t, x, args)
        return getattr(self, self.how)(x, h)

    def residual(self, x, h):
        return h + x[:, None]

    def normalised(self, x, h):
        return h - jnp.mean(h, axis=0, keepdims=True)

    def mixed(self, x, h):
        return jnp.tanh(h.T @ jnp.ones((h.shape[0], h.shape[0]), h.dtype)).T

    def looped(self, x, h):
        return jax.lax.fori_loop(0, 3, lambda i, h: h + jnp.roll(h, 1, axis=0), h)

    def hidden(self, x, h):
        return h + jax.lax.stop_gradient(x)[:, None]
