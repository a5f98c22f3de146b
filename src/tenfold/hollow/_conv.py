"""Images: four convolutions, each of which sees one half of the plane."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike
from tenfold.hollow._conditioner import Conditioner, Offset, check_sizes, uniform


class HollowConv2d(Conditioner):
    r"""h of a pixel from the rows above it, those below, and the columns left and right of it.

    Each of four stacks has kernels that see their own side of a pixel only; a shift by one at the
    end takes the pixel's own row (or column) away. Together the four see all but the pixel itself,
    as far as their kernels reach: R = sum of dilations * (kernel - 1)/2 sideways and 2 R ahead.
    Pixels further than R away both ways are not seen. Of its own pixel, channel k sees the other
    channels.

    A masked centre alone does not do: a second layer brings the pixel back through its neighbours.

    **Cost:** four times that of a plain convolutional stack.

    Source: the blind-spot networks of Laine et al. (2019).
    """

    stacks: tuple[tuple[Float[Array, "out in k k"], ...], ...]
    biases: tuple[tuple[Float[Array, "out 1 1"], ...], ...]
    fuse: Float[Array, "width four"]
    own: Float[Array, "c c width"]
    last: Float[Array, "c width d_h"]
    offset: Offset
    activation: Callable = eqx.field(static=True)
    dilations: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        d_h: int,
        width: int,
        *,
        kernel: int = 3,
        dilations: Sequence[int] = (1, 2, 4),
        context: int = 0,
        activation: Callable = jnp.tanh,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:**

        - `channels`: c of images (c, height, width), of any size.
        - `width`: channels of every hidden layer.
        - `kernel`: odd. `dilations`: one layer each.

        **Raises:** ValueError for an even kernel, or no layers.
        """
        check_sizes("HollowConv2d", channels=channels, d_h=d_h, width=width, kernel=kernel)
        if kernel % 2 == 0 or not dilations or min(dilations) < 1:
            raise ValueError(
                "HollowConv2d: `kernel` must be odd and `dilations` at least 1 each, got "
                f"{kernel} and {tuple(dilations)}"
            )
        keys = iter(jax.random.split(key, 4 * len(dilations) + 4))
        sizes = [channels, *[width] * len(dilations)]
        area = kernel * kernel
        self.stacks = tuple(
            tuple(
                uniform(next(keys), (o, i, kernel, kernel), i * area, dtype)
                for i, o in itertools.pairwise(sizes)
            )
            for _ in range(4)
        )
        self.biases = jax.tree.map(lambda w: jnp.zeros((w.shape[0], 1, 1), w.dtype), self.stacks)
        self.fuse = uniform(next(keys), (width, 4 * width), 4 * width, dtype)
        self.own = uniform(next(keys), (channels, channels, width), channels, dtype)
        self.last = uniform(next(keys), (channels, width, d_h), width, dtype)
        self.offset = Offset(width, context, dtype, next(keys))
        self.activation, self.dilations = activation, tuple(dilations)

    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Float[Array, "d d_h"]:
        """h at (t, x), of shape (c height width, d_h), for x of shape (c, height, width)."""
        c = self.own.shape[0]
        if x.ndim != 3 or x.shape[0] != c:
            raise ValueError(f"HollowConv2d takes images ({c}, height, width), got {x.shape}")
        sides = [self._seen(x, i) for i in range(4)]
        seen = jnp.einsum("wf,fyx->wyx", self.fuse, jnp.concatenate(sides))
        # Channel k of a pixel must not see itself; the others of its pixel it may.
        itself = jnp.eye(c, dtype=bool)[..., None]
        own = jnp.einsum("kqw,qyx->kwyx", jnp.where(itself, 0, self.own), x)
        hidden = self.activation(own + (seen + self.offset(t, args)[:, None, None])[None])
        return jnp.einsum("kwd,kwyx->kyxd", self.last, hidden).reshape(x.size, -1)

    def _seen(self, x: Array, side: int) -> Array:
        """The stack of one side, which looks up; the image is turned beforehand and turned back."""
        a = _turned(x, side)
        for weight, bias, dilation in zip(self.stacks[side], self.biases[side], self.dilations):
            a = self.activation(_looking_up(a, weight, dilation) + bias)
        above = jnp.concatenate([jnp.zeros_like(a[:, :1]), a[:, :-1]], axis=1)
        return _turned(above, side)


def _turned(x: Array, side: int) -> Array:
    """So that what lies above, below, left or right of a pixel lies above; its own inverse."""
    if side in (0, 1):
        return x[:, ::-1] if side else x
    if side == 2:
        return x.swapaxes(1, 2)
    return x[:, ::-1, ::-1].swapaxes(1, 2)


def _looking_up(x: Array, weight: Array, dilation: int) -> Array:
    reach = dilation * (weight.shape[-1] - 1)
    return jax.lax.conv_general_dilated(
        x[None],
        weight,
        window_strides=(1, 1),
        padding=((reach, 0), (reach // 2, reach // 2)),
        rhs_dilation=(dilation, dilation),
    )[0]
