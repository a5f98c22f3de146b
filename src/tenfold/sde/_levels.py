"""Coupled levels of a multilevel estimate, on the device."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, PyTree

from tenfold.base.mc import Moments, moments_init, moments_merge, moments_of
from tenfold.base.typing import Key
from tenfold.sde._antithetic import Antithetic
from tenfold.sde._grid import refined
from tenfold.sde._methods import AbstractMethod, Heun, Milstein
from tenfold.sde._noise import GridNoise
from tenfold.sde._sde import SDE, brownian_shape
from tenfold.sde._solve import sdesolve

Payoff = Callable[[Array], Array]
"""`zs -> number`: the states of one path at `ts`, (T, d), to an array of shape ()."""


class Levels(eqx.Module):
    """What is averaged. Level l has `coarsest` 2^l substeps."""

    sde: SDE
    payoff: Payoff
    z0: Array
    ts: Array
    args: PyTree
    method: AbstractMethod
    coarsest: int = eqx.field(static=True)
    antithetic: bool = eqx.field(static=True)
    batch: int = eqx.field(static=True)

    def size(self, level: int) -> int:
        """Samples drawn at once: fewer where they are longer, so that a batch costs the same."""
        return max(min(64, self.batch), self.batch >> level)

    def cost(self, level: int) -> int:
        """Steps of one sample."""
        fine = self.coarsest * 2**level * (self.ts.shape[0] - 1)
        return (fine + (fine // 2 if level else 0)) * (2 if self.antithetic else 1)

    def plain_cost(self, level: int) -> int:
        """Steps of one sample without the coarser path."""
        return self.coarsest * 2**level * (self.ts.shape[0] - 1) * (2 if self.antithetic else 1)

    def draw(self, level: int, key: Key, size: int) -> dict[str, Array]:
        """Samples of the payoff with the steps of a level, and less those of the level below on the
        same Brownian paths."""
        substeps = self.coarsest * 2**level
        shape = brownian_shape(self.sde, self.ts[0], self.z0, self.args)
        times = refined(self.ts, substeps, self.z0.dtype).times
        noise = GridNoise.at(key, (size, *shape), times, dtype=self.z0.dtype)
        path = Antithetic(noise) if self.antithetic else noise
        fine = self._paid(path, substeps)
        below = self._paid(path, substeps // 2) if level else jnp.zeros_like(fine)
        return {"fine": fine, "difference": fine - below}

    def _paid(self, noise: Any, substeps: int) -> Array:
        z0 = jnp.broadcast_to(self.z0, (noise.shape[0], *self.z0.shape))
        zs = sdesolve(
            self.sde, z0, self.ts, noise, args=self.args, method=self.method, substeps=substeps
        ).zs
        paid = jax.vmap(self.payoff, in_axes=1)(zs)
        return jnp.mean(paid.reshape(2, -1), axis=0) if self.antithetic else paid


def levels_of(
    sde: SDE,
    payoff: Payoff,
    z0: ArrayLike,
    ts: ArrayLike,
    args: PyTree,
    method: AbstractMethod | None,
    coarsest: int,
    antithetic: bool,
    batch: int,
) -> Levels:
    if method is None:
        method = Milstein() if sde.noise in Milstein.orders else Heun()
    if coarsest < 1 or batch < 1:
        raise ValueError(f"mlmc: coarsest = {coarsest} and batch = {batch} must be at least 1")
    z0 = jnp.asarray(z0)
    if z0.ndim != 1:
        raise ValueError(f"mlmc: `z0` is one state, (d,), got {z0.shape}")
    ts = jnp.asarray(ts, z0.dtype)
    paid = eqx.filter_eval_shape(payoff, jnp.zeros((*ts.shape, *z0.shape), z0.dtype))
    if paid.shape != ():
        raise ValueError(f"mlmc: `payoff` must return one number, got shape {paid.shape}")
    return Levels(sde, payoff, z0, ts, args, method, coarsest, antithetic, batch)


def multilevel_mean(
    sde: SDE,
    payoff: Payoff,
    z0: ArrayLike,
    ts: ArrayLike,
    samples: tuple[int, ...],
    *,
    args: PyTree = None,
    method: AbstractMethod | None = None,
    coarsest: int = 1,
    antithetic: bool = False,
    batch: int = 4096,
    key: Key,
) -> Array:
    r"""The multilevel estimate of E payoff with given numbers of samples, to be differentiated.

    $$\sum_l \frac{1}{N_l} \sum_n (P_l - P_{l-1})^{(n)}$$

    `samples` are N_0, N_1, ...: those that `mlmc` found, say; each is rounded up to whole batches.
    The gradient in arrays of `sde`, `payoff`, `args` and z0 is that of the estimate, path by path;
    it estimates the gradient of the mean where the payoff is continuous. The rest as in `mlmc`.

    **Cost:** that of the samples; the gradient recomputes each batch, so memory is that of one.
    """
    levels = levels_of(sde, payoff, z0, ts, args, method, coarsest, antithetic, batch)
    return sum(
        (_mean(levels, i, n, jax.random.fold_in(key, i)) for i, n in enumerate(samples)),
        start=jnp.zeros((), levels.z0.dtype),
    )


def _mean(levels: Levels, level: int, n: int, key: Key) -> Array:
    size = min(levels.size(level), n)
    batches = -(-n // size)

    @jax.checkpoint
    def one(total: Array, k: Array) -> tuple[Array, None]:
        drawn = levels.draw(level, jax.random.fold_in(key, k), size)
        return total + jnp.mean(drawn["difference"]), None

    start = jnp.zeros((), levels.z0.dtype)
    return jax.lax.scan(one, start, jnp.arange(batches, dtype=jnp.int32))[0] / batches


@eqx.filter_jit
def moments_of_level(levels: Levels, level: int, key: Key, first: Array, batches: Array) -> Moments:
    """Of `batches` more batches. Their number is not compiled in: one program a level."""

    def body(k: Array, moments: Moments) -> Moments:
        drawn = levels.draw(level, jax.random.fold_in(key, k), levels.size(level))
        return moments_merge(moments, moments_of(drawn))

    zero = jnp.zeros((), levels.z0.dtype)
    start = moments_init({"fine": zero, "difference": zero})
    return jax.lax.fori_loop(first, first + batches, body, start)
