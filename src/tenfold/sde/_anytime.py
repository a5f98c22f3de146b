"""Brownian motions that know themselves at any time."""

import abc
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from tenfold.sde._grid import concrete
from tenfold.sde._noise import AbstractBlocks, AbstractNoise, Increment


class AbstractAnyTimeNoise(AbstractNoise):
    """A Brownian motion that can be asked at any time of its interval: what adaptive steps need."""

    @property
    @abc.abstractmethod
    def resolution(self) -> Array:
        """The path is smooth, not random, over shorter times than this."""

    @abc.abstractmethod
    def between(self, t0: Any, t1: Any, *, area: bool = False) -> Increment:
        """What the motion does from t0 to t1 >= t0; nan outside its interval.

        **Raises:** `ValueError` when it has no time integrals and `area` asks for them.
        """


class TimedBlocks(AbstractBlocks):
    """The increments of an `AbstractAnyTimeNoise` between any times, each asked for by itself."""

    noise: AbstractAnyTimeNoise
    times: Array
    area: bool = eqx.field(static=True)
    preferred: int = eqx.field(static=True, default=32)

    def __call__(self, first: Any, size: int) -> Increment:
        i = first + jnp.arange(size, dtype=jnp.int32)
        between = jax.vmap(lambda s, t: self.noise.between(s, t, area=self.area))
        return between(self.times[i], self.times[i + 1])


def check_covered(name: str, times: Array, t0: Any, t1: Any) -> None:
    """Refuses times outside [t0, t1], as far as can be seen while tracing.

    **Raises:** `ValueError` naming both intervals.
    """
    known, start, end = concrete(times), concrete(t0), concrete(t1)
    if known is None or start is None or end is None:
        return
    slack = _slack(start, end, known.dtype)
    if known[0] < start - slack or known[-1] > end + slack:
        raise ValueError(
            f"{name}: the times of the solve, {known[0]} to {known[-1]}, lie outside those of the "
            f"noise, {start} to {end}"
        )


def clipped(t: Any, t0: Array, t1: Array) -> tuple[Array, Array]:
    """t in [t0, t1], and whether it was there but for a few roundings."""
    t, slack = jnp.asarray(t, t0.dtype), _slack(t0, t1, t0.dtype)
    return jnp.clip(t, t0, t1), (t >= t0 - slack) & (t <= t1 + slack)


def _slack(t0: Any, t1: Any, dtype: Any) -> Any:
    return 8 * float(jnp.finfo(dtype).eps) * jnp.maximum(jnp.abs(t0), jnp.abs(t1))


def path_increment(noise: AbstractAnyTimeNoise, t0: Any, t1: Any, use_levy: bool) -> Any:
    """Diffrax's `evaluate`, answered by `between`; `t1 = None` asks for the value at t0."""
    start, end = (noise.t0, t0) if t1 is None else (t0, t1)
    start, end = jnp.asarray(start, noise.dtype), jnp.asarray(end, noise.dtype)
    area = use_levy and noise.levy_area is dfx.SpaceTimeLevyArea
    step = noise.between(jnp.minimum(start, end), jnp.maximum(start, end), area=area)
    w = jnp.where(end >= start, step.w, -step.w)
    if not use_levy:
        return w
    if step.area is None:
        return dfx.BrownianIncrement(dt=end - start, W=w)
    h = jnp.abs(end - start)  # H is the same in both directions of time
    levy = jnp.where(h > 0, step.area / jnp.where(h > 0, h, 1) - 0.5 * step.w, 0)
    return dfx.SpaceTimeLevyArea(dt=end - start, W=w, H=levy)
