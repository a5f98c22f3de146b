"""Brownian increments that are given: to see the path that another program saw."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike

from tenfold.sde._grid import Grid, closeness, concrete, matches
from tenfold.sde._noise import (
    AbstractBlocks,
    AbstractNoise,
    Increment,
    agreement,
    checked,
    concatenated,
)


class RecordedNoise(AbstractNoise):
    """The Brownian motion with given increments over the steps of a given grid.

    **Arguments:**

    - `times` (n + 1,), increasing; `w` (n, ...): W(times[i + 1]) - W(times[i]).
    - `area`, of w's shape: the integrals of W(t) - W(times[i]) over each step, which SRK needs.

    A solve whose steps are each r of these sees their sums. As a Diffrax path it answers at
    `times`, and with nan elsewhere. Memory O(n); drawing anew, as `GridNoise` does, needs none.

    **Raises:** `ValueError` for times that don't increase, or as many steps as there are not.
    """

    times: Array
    w: Array
    area: Array | None
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def __init__(self, times: ArrayLike, w: ArrayLike, *, area: ArrayLike | None = None) -> None:
        self.w = jnp.asarray(w)
        self.times = jnp.asarray(times, self.w.dtype)
        self.area = None if area is None else jnp.asarray(area, self.w.dtype)
        areas = self.w.shape if self.area is None else self.area.shape
        if self.times.ndim != 1 or self.w.shape[:1] != (self.times.shape[0] - 1,):
            raise ValueError(
                f"RecordedNoise: {self.times.shape[0] - 1} steps need as many increments, got "
                f"times {self.times.shape} and w {self.w.shape}"
            )
        if areas != self.w.shape:
            raise ValueError(f"RecordedNoise: area {areas} must be as w, {self.w.shape}")
        known = concrete(self.times)
        if known is not None and not np.all(np.diff(known) > 0):
            raise ValueError("RecordedNoise: `times` must increase")
        self.shape, self.dtype = self.w.shape[1:], self.w.dtype
        self.levy_area = dfx.BrownianIncrement

    @property
    def t0(self) -> Array:  # pyright: ignore
        return self.times[0]

    @property
    def t1(self) -> Array:  # pyright: ignore
        return self.times[-1]

    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        ratio, rest = divmod(self.w.shape[0], grid.n)
        if rest or not matches(self.times[::ratio], grid.times):
            raise ValueError(
                f"RecordedNoise: the {grid.n} steps of the solve are not on the grid of the "
                f"{self.w.shape[0]} that were recorded"
            )
        if area and self.area is None:
            raise ValueError("RecordedNoise: this scheme needs `area`, which was not recorded")
        fine = agreement(self.times[::ratio], grid.times)
        return _Slices(steps=self._summed(ratio, area), agrees=fine)

    def _summed(self, ratio: int, area: bool) -> Increment:
        """Over runs of `ratio` steps, all at once."""

        def cut(x: Array) -> Array:
            return jnp.moveaxis(x.reshape(-1, ratio, *x.shape[1:]), 1, 0)

        areas = None if self.area is None or not area else cut(self.area)
        return concatenated(Increment(cut(self.w), areas), cut(jnp.diff(self.times)))

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        del left
        start, end = (self.times[0], t0) if t1 is None else (t0, t1)
        start, end = jnp.asarray(start, self.dtype), jnp.asarray(end, self.dtype)
        w = self._value(end) - self._value(start)
        return dfx.BrownianIncrement(dt=end - start, W=w) if use_levy else w

    def _value(self, t: Array) -> Array:
        gaps = jnp.abs(self.times - t)
        i = jnp.argmin(gaps)
        known = gaps[i] <= closeness(self.times, jnp)
        passed = jnp.arange(self.w.shape[0]) < i
        wide = passed.reshape((-1,) + (1,) * len(self.shape))
        return jnp.where(known, jnp.sum(jnp.where(wide, self.w, 0), axis=0), jnp.nan)


class _Slices(AbstractBlocks):
    """Runs of stacked increments."""

    steps: Increment
    agrees: Array | None
    preferred: int = eqx.field(static=True, default=32)

    def __call__(self, first: Any, size: int) -> Increment:
        i = first + jnp.arange(size, dtype=jnp.int32)
        steps = Increment(self.steps.w[i], None if self.steps.area is None else self.steps.area[i])
        return checked(steps, self.agrees)
