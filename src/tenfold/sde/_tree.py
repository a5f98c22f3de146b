"""The paper's virtual Brownian tree (arXiv 2001.01328, section 4)."""

from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import DTypeLike

from tenfold.base.typing import Key, RealScalarLike
from tenfold.sde._anytime import (
    AbstractAnyTimeNoise,
    check_covered,
    clipped,
    path_increment,
)
from tenfold.sde._grid import Grid, concrete
from tenfold.sde._noise import AbstractBlocks, Increment, interval, normals, run, settled


class VirtualBrownianTree(AbstractAnyTimeNoise):
    r"""A Brownian motion that is never stored: any float time is found by bisection.

    $$W(m) \sim N\left(\frac{1}{2} (W(s) + W(e)), \frac{1}{4} (e - s) I\right), \quad
      m = \frac{1}{2} (s + e)$$

    The key is split at each halving: one part draws the middle, the others go to the halves. The
    descent ends when the interval is shorter than `tol`; the path is linear there (the paper takes
    the value at its middle).

    **Arguments:** `key`; `shape` of the motion; `t0`, `t1`; `tol`; `dtype`, by default JAX's float.

    Serves every grid in [t0, t1], uneven ones too, and adaptive steps. Its increments are
    differences of values: in float32 they carry an error of about 1e-7 |W|, however short the step.
    It has no time integrals (`DyadicNoise` has). Outside [t0, t1] it answers nan. Also a Diffrax
    path; not the numbers of `diffrax.VirtualBrownianTree` (for those: `DiffraxNoise`).

    **Raises:** `ValueError` unless t0 < t1 and tol > 0.

    **Cost:** log2((t1 - t0) / tol) splits and draws a value; memory O(1).
    """

    key: Key
    t0: Array  # pyright: ignore
    t1: Array  # pyright: ignore
    tol: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def __init__(
        self,
        key: Key,
        shape: tuple[int, ...],
        t0: RealScalarLike,
        t1: RealScalarLike,
        tol: RealScalarLike,
        *,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.dtype = jnp.zeros((), dtype).dtype
        self.t0, self.t1 = interval("VirtualBrownianTree", t0, t1, self.dtype)
        self.tol = jnp.asarray(tol, self.dtype)
        known = concrete(self.tol)
        if known is not None and not np.all(known > 0):
            raise ValueError(f"VirtualBrownianTree: `tol` must be positive, got {known}")
        self.key, self.shape = key, tuple(shape)
        self.levy_area = dfx.BrownianIncrement

    @property
    def resolution(self) -> Array:
        return self.tol

    def value(self, t: Any) -> Array:
        """W(t), with W(t0) = 0; nan outside [t0, t1]."""
        t, known = clipped(t, self.t0, self.t1)
        found = jax.lax.while_loop(
            lambda found: self._coarse(found), lambda found: found.towards(t), self._root()
        )
        share = (t - found.start) / (found.end - found.start)
        w = found.at_start + settled(share * (found.at_end - found.at_start))
        return jnp.where(known, w, jnp.nan)

    def between(self, t0: Any, t1: Any, *, area: bool = False) -> Increment:
        _no_area(area)
        start, end = jax.vmap(self.value)(jnp.stack([jnp.asarray(t, self.dtype) for t in (t0, t1)]))
        return Increment(end - start, None)

    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        _no_area(area)
        check_covered("VirtualBrownianTree", grid.times, self.t0, self.t1)
        return _TreeBlocks(noise=self, times=grid.times)

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        del left
        return path_increment(self, t0, t1, use_levy)

    def _root(self) -> "_Interval":
        first, key = jax.random.split(self.key)
        w = settled(jnp.sqrt(self.t1 - self.t0) * normals(first, self.shape, self.dtype))
        return _Interval(self.t0, self.t1, jnp.zeros_like(w), w, key)

    def _coarse(self, found: "_Interval") -> Array:
        # In low precision a short interval may have no float between its ends.
        middle = found.middle
        inner = (found.start < middle) & (middle < found.end)
        return (found.end - found.start > self.tol) & inner


def _no_area(area: bool) -> None:
    if area:
        raise ValueError(
            "VirtualBrownianTree: it has no time integrals, which SRK needs; use "
            "DyadicNoise(..., area=True)"
        )


class _Interval(NamedTuple):
    start: Array
    end: Array
    at_start: Array
    at_end: Array
    key: Array
    """For all that is drawn inside."""

    @property
    def middle(self) -> Array:
        return 0.5 * (self.start + self.end)

    def towards(self, t: Array) -> "_Interval":
        """The half that holds t."""
        here, left, right = jax.random.split(self.key, 3)
        n = normals(here, self.at_start.shape, self.at_start.dtype)
        spread = settled(0.5 * jnp.sqrt(self.end - self.start) * n)
        w = 0.5 * (self.at_start + self.at_end) + spread
        m, second = self.middle, t >= self.middle
        return _Interval(
            jnp.where(second, m, self.start),
            jnp.where(second, self.end, m),
            jnp.where(second, w, self.at_start),
            jnp.where(second, self.at_end, w),
            jax.random.wrap_key_data(
                jnp.where(second, jax.random.key_data(right), jax.random.key_data(left)),
                impl=jax.random.key_impl(self.key),
            ),
        )


class _TreeBlocks(AbstractBlocks):
    """Differences of neighbouring values."""

    noise: VirtualBrownianTree
    times: Array
    preferred: int = eqx.field(static=True, default=32)

    def __call__(self, first: Any, size: int) -> Increment:
        values = jax.vmap(self.noise.value)(self.times[run(first, size + 1)])
        return Increment(values[1:] - values[:-1], None)
