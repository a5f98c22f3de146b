"""Pairs of paths W and -W."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from tenfold.sde._grid import Grid
from tenfold.sde._noise import AbstractBlocks, AbstractNoise, Increment


class Antithetic(AbstractNoise):
    """A noise of shape (n, ...) and its mirror image: shape (2 n, ...), paths i and n + i opposite.

    The mean of a quantity over a pair has a smaller variance than over two independent paths where
    it is about odd in W; where it is even, a larger one.

    **Raises:** `ValueError` for a noise without a leading axis.
    """

    noise: AbstractNoise
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def __init__(self, noise: AbstractNoise) -> None:
        if not noise.shape:
            raise ValueError("Antithetic: the noise needs a leading axis of paths, got shape ()")
        self.noise, self.dtype = noise, noise.dtype
        self.shape = (2 * noise.shape[0], *noise.shape[1:])
        self.levy_area = noise.levy_area  # pyright: ignore

    @property
    def t0(self) -> Array:  # pyright: ignore
        return jnp.asarray(self.noise.t0)

    @property
    def t1(self) -> Array:  # pyright: ignore
        return jnp.asarray(self.noise.t1)

    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        blocks = self.noise.on(grid, area=area)
        return _Mirrored(blocks=blocks, preferred=blocks.preferred)

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        found = self.noise.evaluate(t0, t1, left=left, use_levy=use_levy)
        # Times, which a Lévy area carries too, are not mirrored.
        return jax.tree.map(lambda x: _both(x, 0) if jnp.ndim(x) else x, found)


class _Mirrored(AbstractBlocks):
    blocks: AbstractBlocks
    preferred: int = eqx.field(static=True)

    def __call__(self, first: Any, size: int) -> Increment:
        return jax.tree.map(lambda x: _both(x, 1), self.blocks(first, size))


def _both(x: Array, axis: int) -> Array:
    return jnp.concatenate([x, -x], axis=axis)
