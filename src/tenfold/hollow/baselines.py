"""Flows that a posterior may be made of, to compare a hollow one with: planar, IAF, Sylvester.

All have one signature, `(z, context, key) -> (z', log |det dz'/dz|)`, on one example.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from tenfold.base import EXACT, SOLVE, Hutchinson, Solve, move, rademacher_like
from tenfold.base.typing import Key, Scalar, VectorField
from tenfold.hollow._conditioner import check_sizes, uniform
from tenfold.nets import Dense

Flow = Callable[[Array, Array, Any], tuple[Array, Any]]
"""`(z, context, key) -> (z', log_det)`; only `Continuous` with a Hutchinson trace uses the key."""


class Identity(eqx.Module):
    """No flow: z' = z."""

    def __call__(
        self, z: Float[Array, " d"], context: Array, key: Key | None = None
    ) -> tuple[Array, Scalar]:
        del context, key
        return z, jnp.zeros((), z.dtype)


class Chain(eqx.Module):
    """One flow after another."""

    flows: tuple[Flow, ...]

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = tuple(flows)

    def __call__(
        self, z: Float[Array, " d"], context: Array, key: Key | None = None
    ) -> tuple[Array, Scalar]:
        total = jnp.zeros((), z.dtype)
        for i, flow in enumerate(self.flows):
            z, log_det = flow(z, context, None if key is None else jax.random.fold_in(key, i))
            total = total + log_det
        return z, total


class Planar(eqx.Module):
    """z' = z + u tanh(w z + b), with u, w, b from the context (Rezende and Mohamed 2015).

    u is moved along w until w u > -1, which makes the map invertible.
    """

    amortised: Dense

    def __init__(
        self, size: int, context: int, *, dtype: DTypeLike | None = None, key: Key
    ) -> None:
        check_sizes("Planar", size=size, context=context)
        self.amortised = Dense(context, 2 * size + 1, dtype=dtype, key=key)

    def __call__(
        self, z: Float[Array, " d"], context: Array, key: Key | None = None
    ) -> tuple[Array, Scalar]:
        del key
        d, out = z.shape[0], self.amortised(context)
        u, w, b = out[:d], out[d : 2 * d], out[2 * d]
        along = w @ u
        u = u + (jax.nn.softplus(along) - 1 - along) * w / (w @ w + 1e-6)
        a = jnp.tanh(w @ z + b)
        return z + u * a, jnp.log(jnp.abs(1 + (1 - a**2) * (w @ u)))


class Sylvester(eqx.Module):
    """z' = z + Q R1 tanh(R2 Q^T z + b) (van den Berg et al. 2018, with Householder's Q).

    Q (orthogonal), R1 and R2 (upper triangular) and b come from the context. The diagonals of R1
    and R2 lie in (-1, 1), which makes the map invertible;
    log det = sum log(1 + tanh'(.) diag R1 diag R2).
    """

    amortised: Dense
    reflections: int = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        context: int,
        reflections: int = 4,
        *,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        check_sizes("Sylvester", size=size, context=context, reflections=reflections)
        out = 2 * size * size + size + reflections * size
        weights, biases = jax.random.split(key)
        amortised = Dense(context, out, dtype=dtype, key=weights)
        # At a context of 0 there must be something to reflect by.
        bias = uniform(biases, (out,), 1, dtype)
        self.amortised = eqx.tree_at(lambda a: a.bias, amortised, bias)
        self.reflections = reflections

    def __call__(
        self, z: Float[Array, " d"], context: Array, key: Key | None = None
    ) -> tuple[Array, Scalar]:
        del key
        d = z.shape[0]
        out = self.amortised(context)
        square, b, mirrors = out[: 2 * d * d], out[2 * d * d : 2 * d * d + d], out[2 * d * d + d :]
        r1, r2 = (_triangular(r) for r in square.reshape(2, d, d))
        q = _orthogonal(mirrors.reshape(self.reflections, d))
        a = jnp.tanh(r2 @ (q.T @ z) + b)
        factors = 1 + (1 - a**2) * jnp.diag(r1) * jnp.diag(r2)
        return z + q @ (r1 @ a), jnp.sum(jnp.log(factors))


def _triangular(square: Array) -> Array:
    return jnp.triu(square, 1) + jnp.diag(jnp.tanh(jnp.diag(square)))


def _orthogonal(mirrors: Array) -> Array:
    """The product of the reflections at these vectors."""
    q = jnp.eye(mirrors.shape[1], dtype=mirrors.dtype)
    for v in mirrors:
        q = q - 2 * jnp.outer(q @ v, v) / (v @ v)
    return q


class InverseAutoregressive(eqx.Module):
    """z' = s z + (1 - s) m, (m, s) of entry i from z_{<i} and the context (Kingma et al. 2016).

    `reverse` turns the order round: alternate it along a chain.
    """

    first: Float[Array, "width d"]
    last: Float[Array, "two d width"]
    amortised: Dense
    bias: Float[Array, "two d"]
    reverse: bool = eqx.field(static=True)

    def __init__(
        self,
        size: int,
        context: int,
        width: int = 64,
        *,
        reverse: bool = False,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        check_sizes("InverseAutoregressive", size=size, context=context, width=width)
        if width < size - 1:
            raise ValueError(
                f"InverseAutoregressive: `width` must be at least d - 1 = {size - 1}, got {width}"
            )
        first, last, amortised = jax.random.split(key, 3)
        self.first = uniform(first, (width, size), size, dtype)
        self.last = uniform(last, (2, size, width), width, dtype)
        self.amortised = Dense(context, width, dtype=dtype, key=amortised)
        # s = sigmoid(2 + .) is near 1 at the start, so that z' is near z.
        start = np.array([[0.0], [2.0]]) * np.ones((1, size))
        self.bias = jnp.asarray(start, self.first.dtype)
        self.reverse = reverse

    def __call__(
        self, z: Float[Array, " d"], context: Array, key: Key | None = None
    ) -> tuple[Array, Scalar]:
        del key
        d, width = z.shape[0], self.first.shape[0]
        x = z[::-1] if self.reverse else z
        degree = 1 + np.arange(width) * max(1, d - 1) // width
        sees = np.arange(d)[None] < degree[:, None]
        feeds = np.arange(d)[:, None] >= degree[None]
        hidden = jnp.tanh(jnp.where(sees, self.first, 0) @ x + self.amortised(context))
        m, logit = jnp.where(feeds[None], self.last, 0) @ hidden + self.bias
        s = jax.nn.sigmoid(logit)
        out = s * x + (1 - s) * m
        return out[::-1] if self.reverse else out, jnp.sum(jax.nn.log_sigmoid(logit))


class Continuous(eqx.Module):
    """An ODE from t = 0 to 1 with the context as `args`: FFJORD, or hollow and exact.

    **Arguments:** `field`: `(t, z, context)`. `hutchinson`: whether the trace is estimated by one
    Rademacher probe a call (FFJORD's), which needs a key; else it is exact.
    """

    field: VectorField
    hutchinson: bool = eqx.field(static=True, default=False)
    solve: Solve = SOLVE

    def __call__(
        self, z: Float[Array, " d"], context: Array, key: Key | None = None
    ) -> tuple[Array, Scalar]:
        how = EXACT
        if self.hutchinson:
            if key is None:
                raise ValueError("Continuous: a Hutchinson trace needs `key`")
            how = Hutchinson(rademacher_like(key, z))
        moved = move(self.field, z, 0.0, 1.0, context, how=how, solve=self.solve)
        return moved.x, moved.log_det


def planar(size: int, context: int, length: int = 4, *, key: Key) -> Chain:
    """`length` planar flows."""
    return Chain([Planar(size, context, key=k) for k in jax.random.split(key, length)])


def sylvester(size: int, context: int, length: int = 4, *, key: Key) -> Chain:
    """`length` Householder Sylvester flows."""
    return Chain([Sylvester(size, context, key=k) for k in jax.random.split(key, length)])


def iaf(size: int, context: int, length: int = 4, width: int = 64, *, key: Key) -> Chain:
    """`length` inverse autoregressive flows of alternating order."""
    return Chain(
        [
            InverseAutoregressive(size, context, width, reverse=bool(i % 2), key=k)
            for i, k in enumerate(jax.random.split(key, length))
        ]
    )


class ContextMLP(eqx.Module):
    """An unrestricted field of (t, z, context), for `Continuous(net, hutchinson=True)`: FFJORD."""

    first: Dense
    last: Dense

    def __init__(
        self,
        size: int,
        context: int,
        width: int = 64,
        *,
        dtype: DTypeLike | None = None,
        key: Key,
    ) -> None:
        check_sizes("ContextMLP", size=size, context=context, width=width)
        first, last = jax.random.split(key)
        self.first = Dense(size + context + 1, width, dtype=dtype, key=first)
        self.last = Dense(width, size, dtype=dtype, key=last, scale=1 / math.sqrt(2))

    def __call__(self, t: Any, z: Array, args: Array) -> Array:
        seen = jnp.concatenate([z, args, jnp.asarray(t, z.dtype)[None]])
        return self.last(jnp.tanh(self.first(seen)))
