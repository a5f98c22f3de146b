"""Reproducible Brownian motion: what a path must offer, and the one on a fixed grid."""

import abc
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import DTypeLike

from tenfold.base.typing import Key, RealScalarLike
from tenfold.sde._grid import Grid, closeness, concrete, matches


class Increment(eqx.Module):
    """What a Brownian motion does over one step (or, stacked, over several)."""

    w: Array
    """W(t1) - W(t0)."""
    area: Array | None
    """The integral of W(t) - W(t0) from t0 to t1, where it was asked for."""


def settled(x: Array) -> Array:
    """x without its last bit: the same bits wherever it is computed.

    A compiler may contract a product with the sum that it goes into, or merge two factors, and it
    does so in one program and not in another. An integer operation between them forbids that.
    """
    bits = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    whole = jax.lax.bitcast_convert_type(x, bits)
    return jax.lax.bitcast_convert_type(whole & bits.type(np.iinfo(bits).max - 1), x.dtype)


def normals(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    return settled(jax.random.normal(key, shape, dtype))


class AbstractBlocks(eqx.Module):
    """A noise on one grid: the increments of any run of steps at once, in any order."""

    preferred: eqx.AbstractVar[int]
    """How many steps are drawn most cheaply together."""

    @abc.abstractmethod
    def __call__(self, first: Any, size: int) -> Increment:
        """Steps first, ..., first + size - 1, stacked along a new leading axis. A run whose size
        is a power of two must start at a multiple of it; another may start anywhere."""


class AbstractNoise(dfx.AbstractBrownianPath):
    """A Brownian motion that gives the same increments however often and in whatever order it is
    asked: what an adjoint needs, which sees them twice. Also a Diffrax path."""

    shape: eqx.AbstractVar[tuple[int, ...]]
    """Of the motion at one time."""
    dtype: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        """The increments over the steps of `grid`.

        **Raises:** `ValueError` when the grid isn't one that this noise can serve, or when it has
        no time integrals and `area` asks for them.
        """


def run(first: Any, size: int) -> Array:
    """first, ..., first + size - 1."""
    return jnp.asarray(first, jnp.int32) + jnp.arange(size, dtype=jnp.int32)


def interval(name: str, t0: Any, t1: Any, dtype: Any) -> tuple[Array, Array]:
    """Both ends as arrays. **Raises:** `ValueError` unless t0 < t1, as far as can be seen."""
    start, end = jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)
    first, last = concrete(start), concrete(end)
    if first is not None and last is not None and not np.all(first < last):
        raise ValueError(f"{name}: `t0` must be before `t1`, got {first} and {last}")
    return start, end


def agreement(a: Array, b: Array) -> Array | None:
    """Whether two grids of one length are one, to be known when the program runs; None where it
    is known already."""
    if concrete(a) is not None and concrete(b) is not None:
        return None
    return jnp.all(jnp.abs(a - b) <= closeness(b, jnp))


def checked(steps: Increment, fine: Array | None) -> Increment:
    """nan where the noise can't serve what was asked, so that nothing wrong passes for a result."""
    if fine is None:
        return steps
    return jax.tree.map(lambda x: jnp.where(fine, x, jnp.nan), steps)


def concatenated(parts: Increment, steps: Array) -> Increment:
    """One increment over consecutive steps, given stacked; `steps` are their lengths."""
    w = jnp.sum(parts.w, axis=0)
    if parts.area is None:
        return Increment(w, None)
    before = jnp.cumsum(parts.w, axis=0) - parts.w
    lengths = steps.reshape(steps.shape + (1,) * (parts.w.ndim - steps.ndim))
    return Increment(w, jnp.sum(parts.area + settled(lengths * before), axis=0))


class GridNoise(AbstractNoise):
    """Brownian increments on a grid, each drawn from its own integer: O(1) a query, in any order.

    Increment i is sqrt(t_{i+1} - t_i) N(0, I), drawn with the key folded with i. No float is ever
    hashed, so a backward pass sees the very bits of the forward one.

    **Arguments:**

    - `key`; `shape` of the motion; `t0`, `t1`, and the number `n` of equal steps between them.
      Uneven grids: `GridNoise.at`.
    - `dtype`: by default JAX's float.

    A solve on a coarser grid whose steps are each r of these sees sums of r increments, hence the
    same path. As a Diffrax path it answers at its grid points, and with nan elsewhere. Adaptive
    steps and other grids: `DyadicNoise`, `VirtualBrownianTree`.

    **Raises:** `ValueError` unless n >= 1 and t0 < t1 (for `at`: times increase).
    """

    key: Key
    times: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def __init__(
        self,
        key: Key,
        shape: tuple[int, ...],
        t0: RealScalarLike,
        t1: RealScalarLike,
        n: int,
        *,
        dtype: DTypeLike | None = None,
        times: Array | None = None,
    ) -> None:
        self.dtype = jnp.zeros((), dtype).dtype
        if n < 1:
            raise ValueError(f"GridNoise: `n` must be at least 1 step, got {n}")
        even = jnp.asarray(t0, self.dtype) + (t1 - t0) * jnp.linspace(0, 1, n + 1, dtype=self.dtype)
        self.times = even if times is None else jnp.asarray(times, self.dtype)
        known = concrete(self.times)
        if known is not None and not np.all(np.diff(known) > 0):
            raise ValueError(f"GridNoise: times must increase, got {t0} to {t1} in {n} steps")
        self.key, self.shape = key, tuple(shape)
        self.levy_area = dfx.BrownianIncrement

    @classmethod
    def at(cls, key: Key, shape: tuple[int, ...], times: Any, *, dtype: Any = None) -> "GridNoise":
        """On a grid of any `times`, increasing."""
        times = jnp.asarray(times)
        dtype = times.dtype if dtype is None else dtype
        n = times.shape[0] - 1
        return cls(key, shape, times[0], times[-1], n, dtype=dtype, times=times)

    @property
    def n(self) -> int:
        return self.times.shape[0] - 1

    @property
    def t0(self) -> Array:  # pyright: ignore
        return self.times[0]

    @property
    def t1(self) -> Array:  # pyright: ignore
        return self.times[-1]

    def increment(self, i: Any, *, area: bool = False) -> Increment:
        """Over step i of the noise's own grid."""
        h = self.times[i + 1] - self.times[i]
        key = jax.random.fold_in(self.key, i)
        w = settled(jnp.sqrt(h) * normals(key, self.shape, self.dtype))
        if not area:
            return Increment(w, None)
        extra = normals(jax.random.fold_in(key, 1), self.shape, self.dtype)
        return Increment(w, settled(0.5 * h * w) + settled(h * jnp.sqrt(h / 12) * extra))

    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        ratio, rest = divmod(self.n, grid.n)
        if rest or not matches(self.times[::ratio], grid.times):
            raise ValueError(
                f"sde: `ts` and `substeps` ask for {grid.n} steps that are not on the grid of the "
                f"noise, which has {self.n}; make the noise with GridNoise.at(key, shape, times) "
                "at the times of the solve, or pass a key"
            )
        return _GridBlocks(
            noise=self, ratio=ratio, area=area, agrees=agreement(self.times[::ratio], grid.times)
        )

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        del left
        start, end = (self.times[0], t0) if t1 is None else (t0, t1)
        start, end = jnp.asarray(start, self.dtype), jnp.asarray(end, self.dtype)
        i, j, known = self._place(start), self._place(end), self._on_grid(start, end)
        low, high = jnp.minimum(i, j), jnp.maximum(i, j)

        def body(state):
            k, total = state
            return k + 1, total + self.increment(k).w

        zero = jnp.zeros(self.shape, self.dtype)
        _, total = jax.lax.while_loop(lambda s: s[0] < high, body, (low, zero))
        w = jnp.where(known, jnp.where(j >= i, total, -total), jnp.nan)
        return dfx.BrownianIncrement(dt=end - start, W=w) if use_levy else w

    def _place(self, t: Any) -> Array:
        middles = 0.5 * (self.times[1:] + self.times[:-1])
        return jnp.searchsorted(middles, jnp.asarray(t, self.dtype))

    def _on_grid(self, *ts: Any) -> Array:
        tolerance = closeness(self.times, jnp)
        gaps = [jnp.abs(self.times[self._place(t)] - t) for t in ts]
        return jnp.all(jnp.stack(gaps) <= tolerance)


class _GridBlocks(AbstractBlocks):
    """Sums of `ratio` increments of a `GridNoise`."""

    noise: GridNoise
    ratio: int = eqx.field(static=True)
    area: bool = eqx.field(static=True)
    agrees: Array | None
    preferred: int = eqx.field(static=True, default=32)

    def __call__(self, first: Any, size: int) -> Increment:
        return checked(jax.vmap(self._one)(run(first, size)), self.agrees)

    def _one(self, i: Array) -> Increment:
        noise = self.noise
        if self.ratio == 1:
            return noise.increment(i, area=self.area)
        fine = run(i * self.ratio, self.ratio)
        parts = jax.vmap(lambda j: noise.increment(j, area=self.area))(fine)
        return concatenated(parts, noise.times[fine + 1] - noise.times[fine])
