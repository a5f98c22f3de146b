"""Attention in which no entry sees itself."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from tenfold.base.typing import Key, RealScalarLike
from tenfold.hollow._conditioner import Conditioner, Offset, check_shape, check_sizes, uniform
from tenfold.nets import Dense, DenseMLP


class _Attention(eqx.Module):
    """Multi-head attention with a learnt row that all may see, so that none has nothing to see."""

    query: Dense
    key_value: Dense
    nothing: Float[Array, " width"]
    out: Dense
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, dtype: DTypeLike | None, key: Key) -> None:
        q, kv, n, o = jax.random.split(key, 4)
        self.query = Dense(width, width, dtype=dtype, key=q)
        self.key_value = Dense(width, 2 * width, dtype=dtype, key=kv)
        self.nothing = uniform(n, (width,), 1, dtype)
        self.out = Dense(width, width, dtype=dtype, key=o)
        self.heads = heads

    def __call__(
        self, asking: Float[Array, "d w"], told: Float[Array, "n w"], sees: Bool[Array, "d n"]
    ) -> Float[Array, "d w"]:
        def split(a: Array) -> Array:
            return a.reshape(a.shape[0], self.heads, -1)

        rows = jnp.concatenate([self.nothing[None], told])
        sees = jnp.concatenate([jnp.ones_like(sees[:, :1]), sees], axis=1)[None]
        keys, values = jnp.split(self.key_value(rows), 2, axis=1)
        q = split(self.query(asking)) / math.sqrt(asking.shape[1] // self.heads)
        scores = jnp.where(sees, jnp.einsum("ihc,jhc->hij", q, split(keys)), -jnp.inf)
        # exp(-inf) is 0 already; said again so that the proof needs no analysis.
        weights = jnp.where(sees, jax.nn.softmax(scores, axis=-1), 0)
        return self.out(jnp.einsum("hij,jhc->ihc", weights, split(values)).reshape(asking.shape))


class _Block(eqx.Module):
    """A residual layer of a causal stream: row j of it depends on rows up to j."""

    attention: _Attention
    feed: DenseMLP

    def __init__(self, width: int, heads: int, kind: dict, key: Key) -> None:
        one, two = jax.random.split(key)
        self.attention = _Attention(width, heads, kind["dtype"], one)
        self.feed = DenseMLP(width, width, 2 * width, key=two, **kind)

    def __call__(self, rows: Array, sees: Array) -> Array:
        rows = rows + self.attention(rows, rows, sees)
        return rows + self.feed(rows)


class HollowAttention(Conditioner):
    r"""h_i attends to the x_j with j != i; its query is made from the index i and never from x_i.

    `depth` causal layers come before it, in two streams: rows j of the forward one depend on
    x_1..x_j, of the reverse one on x_j..x_d. h_i then reads forward rows j < i and reverse rows
    j > i. With depth 0 it reads embeddings of single entries. More of ordinary attention would
    leak, x_i -> h_j -> h_i, and so do queries made from x_i.

    **Cost:** d^2 width a layer.
    """

    value: Float[Array, "d width"]
    place: Float[Array, "d width"]
    asks: Float[Array, "d width"]
    offset: Offset
    forward: tuple[_Block, ...]
    reverse: tuple[_Block, ...]
    readout: _Attention
    rest: DenseMLP

    def __init__(
        self,
        size: int,
        d_h: int,
        width: int,
        depth: int = 0,
        *,
        heads: int = 2,
        context: int = 0,
        activation: Callable = jnp.tanh,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        """**Arguments:** `width`, a multiple of `heads`; `depth`: causal layers a stream."""
        check_sizes("HollowAttention", size=size, d_h=d_h, width=width, heads=heads)
        if width % heads or depth < 0:
            raise ValueError(
                f"HollowAttention: `width` must be a multiple of `heads` and `depth` at least 0, "
                f"got {width}, {heads} and {depth}"
            )
        keys = iter(jax.random.split(key, 6 + 2 * depth))
        kind = {"activation": activation, "dtype": dtype}
        self.value = uniform(next(keys), (size, width), 1, dtype)
        self.place = uniform(next(keys), (size, width), 1, dtype)
        self.asks = uniform(next(keys), (size, width), 1, dtype)
        self.offset = Offset(width, context, dtype, next(keys))
        self.forward = tuple(_Block(width, heads, kind, next(keys)) for _ in range(depth))
        self.reverse = tuple(_Block(width, heads, kind, next(keys)) for _ in range(depth))
        self.readout = _Attention(width, heads, dtype, next(keys))
        self.rest = DenseMLP(width, d_h, width, key=next(keys), **kind)

    def __call__(self, t: RealScalarLike, x: Array, args: Any = None) -> Float[Array, "d d_h"]:
        """h at (t, x): x has shape (d,), or any other of d entries."""
        d = self.place.shape[0]
        check_shape("HollowAttention", x.reshape(-1), (d,))
        offset = self.offset(t, args)[None]
        forward = reverse = self.value * x.reshape(-1, 1) + self.place + offset
        entry = jnp.arange(d, dtype=jnp.int32)
        earlier = entry[None] < entry[:, None]
        for block in self.forward:
            forward = block(forward, ~earlier.T)
        for block in self.reverse:
            reverse = block(reverse, ~earlier)
        sees = jnp.concatenate([earlier, earlier.T], axis=1)
        return self.rest(
            self.readout(self.asks + offset, jnp.concatenate([forward, reverse]), sees)
        )
