"""Schemes for one step of an SDE. h is the step, w the increment of the Brownian motion."""

import abc
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from tenfold.sde._flow import System
from tenfold.sde._noise import Increment
from tenfold.sde._sde import SDE, Calculus, product

HALF = {"diagonal": 0.5, "scalar": 0.5, "additive": 1.0, "general": 0.5}
COMMUTATIVE = {"diagonal": 1.0, "scalar": 1.0, "additive": 1.0, "general": 0.5}


class AbstractMethod(eqx.Module):
    """A scheme: what it needs, how fast it converges, and one step of it."""

    if TYPE_CHECKING:  # pyright would take abstract class variables for constructor arguments
        orders: ClassVar[dict[str, float]]
        needs_area: ClassVar[bool]
    else:
        orders: eqx.AbstractClassVar[dict[str, float]]
        """Noise type -> strong order. A type that is missing doesn't fit."""
        needs_area: eqx.AbstractClassVar[bool]
        """Whether a step needs the time integral of the Brownian motion beside its increment."""

    @property
    def restarts(self) -> bool:
        """Whether it starts anew at each of `ts`."""
        return False

    @abc.abstractmethod
    def calculus(self, sde: SDE) -> Calculus:
        """The calculus in which the scheme wants this equation's drift."""

    @abc.abstractmethod
    def start(self, z: Array) -> Any:
        """What the scheme keeps beside z, where a solve begins."""

    @abc.abstractmethod
    def enter(self, system: System, t: Any, kept: Any, args: Any) -> Any:
        """What is carried from step to step, at the first step that sees these `args`."""

    @abc.abstractmethod
    def leave(self, carried: Any) -> Any:
        """What of it is kept when the `args` change."""

    def apart(self, z: Array, kept: Any) -> Array | None:
        """Mean distance of what is kept from z, for a scheme that is unstable where it grows. None
        for one that has nothing to tell."""
        del z, kept

    @abc.abstractmethod
    def step(
        self, system: System, t: Any, h: Any, dw: Increment, z: Array, carried: Any, args: Any
    ) -> tuple[Array, Array | None, Any]:
        """z at t + h, what the path cost grew by, and what is carried on."""


class AbstractStateless(AbstractMethod):
    """A scheme that carries nothing but z."""

    def start(self, z: Array) -> None:
        del z

    def enter(self, system: System, t: Any, kept: Any, args: Any) -> None:
        del system, t, kept, args

    def leave(self, carried: Any) -> None:
        del carried


class EulerMaruyama(AbstractStateless):
    """z + f h + g w. Ito; strong order 1/2, or 1 with additive noise."""

    orders: ClassVar = HALF
    needs_area: ClassVar = False

    def calculus(self, sde: SDE) -> Calculus:
        del sde
        return "ito"

    def step(self, system, t, h, dw, z, carried, args):
        del carried
        v = system(t, z, args)
        return z + system.move(v, h, dw.w), system.growth(v, v.k, h, dw.w), None


class Milstein(AbstractStateless):
    """Euler-Maruyama + g g'(w^2 - h) / 2 (Ito) or g g' w^2 / 2 (Stratonovich); strong order 1.

    For noise that commutes by its shape: diagonal, scalar, additive.
    """

    orders: ClassVar = {"diagonal": 1.0, "scalar": 1.0, "additive": 1.0}
    needs_area: ClassVar = False

    def calculus(self, sde: SDE) -> Calculus:
        return sde.kind

    def step(self, system, t, h, dw, z, carried, args):
        del carried
        noise, w = system.sde.noise, dw.w
        if noise == "additive":
            v = system(t, z, args)
            return z + system.move(v, h, w), system.growth(v, v.k, h, dw.w), None
        v, c = system.evaluated(t, z, args, correct=True)
        square = w * w - h if system.kind == "ito" else w * w
        assert c is not None
        bend = 0.5 * c * (square if noise == "diagonal" else square[..., None])
        return z + system.move(v, h, w) + bend, system.growth(v, v.k, h, dw.w), None


class Heun(AbstractStateless):
    """Trapezium of f h + g w at z and at the Euler point. Stratonovich; strong order 1 where the
    noise commutes (diagonal, scalar, additive), else 1/2."""

    orders: ClassVar = COMMUTATIVE
    needs_area: ClassVar = False

    def calculus(self, sde: SDE) -> Calculus:
        del sde
        return "stratonovich"

    def step(self, system, t, h, dw, z, carried, args):
        del carried
        v0 = system(t, z, args)
        first = system.move(v0, h, dw.w)
        v1 = system(t + h, z + first, args)
        z = z + 0.5 * (first + system.move(v1, h, dw.w))
        return z, system.growth(v0, _mean(v0.k, v1.k), h, dw.w), None


class Midpoint(AbstractStateless):
    """f h + g w at half an Euler step. Stratonovich; orders as `Heun`."""

    orders: ClassVar = COMMUTATIVE
    needs_area: ClassVar = False

    def calculus(self, sde: SDE) -> Calculus:
        del sde
        return "stratonovich"

    def step(self, system, t, h, dw, z, carried, args):
        del carried
        v0 = system(t, z, args)
        v = system(t + 0.5 * h, z + 0.5 * system.move(v0, h, dw.w), args)
        return z + system.move(v, h, dw.w), system.growth(v0, v.k, h, dw.w), None


class EulerHeun(AbstractStateless):
    """z + f h + (g(z) + g(z + g w)) w / 2: one drift a step. Stratonovich; orders as `Heun`."""

    orders: ClassVar = COMMUTATIVE
    needs_area: ClassVar = False

    def calculus(self, sde: SDE) -> Calculus:
        del sde
        return "stratonovich"

    def step(self, system, t, h, dw, z, carried, args):
        del carried
        noise, v = system.sde.noise, system(t, z, args)
        first = product(noise, v.g, dw.w)
        second = product(noise, system.sde.diffusion(t + h, z + first, args), dw.w)
        return z + v.f * h + 0.5 * (first + second), system.growth(v, v.k, h, dw.w), None


class ReversibleHeun(AbstractMethod):
    """One evaluation a step, and a step that can be undone (Kidger et al. 2021, 2105.13493).

    With v = F(y) and c(v) = f h + g w: y1 = 2 z - y + c(v), v1 = F(y1), z1 = z + (c(v) + c(v1))/2.
    Stratonovich; orders as `Heun`. Gradients by `Exact` need no memory.

    y is a second solution, which moves away from z like exp(|a| T) where a drift contracts at rate
    a, however short the steps. So the scheme starts anew, with y = z, at each of `ts`, and what
    counts is the time between two of them.

    **Arguments:** `restart`: False for the published scheme, one evaluation a step where every
    step is saved too; then T is the whole time. |a| T should stay below three or so.

    **Cost:** one evaluation a step, and one for each interval of `ts` (where each is one step, it
    is `Heun`).
    """

    restart: bool = eqx.field(static=True, default=True)

    orders: ClassVar = COMMUTATIVE
    needs_area: ClassVar = False

    @property
    def restarts(self) -> bool:
        return self.restart

    def calculus(self, sde: SDE) -> Calculus:
        del sde
        return "stratonovich"

    def start(self, z):
        return z

    def enter(self, system, t, kept, args):
        return kept, system(t, kept, args)

    def leave(self, carried):
        return carried[0]

    def apart(self, z, kept):
        return jnp.mean(jnp.abs(kept - z))

    def step(self, system, t, h, dw, z, carried, args):
        y, v = carried
        first = system.move(v, h, dw.w)
        y1 = 2 * z - y + first
        v1 = system(t + h, y1, args)
        z1 = z + 0.5 * (first + system.move(v1, h, dw.w))
        return z1, system.growth(v, _mean(v.k, v1.k), h, dw.w), (y1, v1)

    def undo(self, system, t, h, dw, z1, y1, args):
        """z and y at t from those at t + h. Two evaluations; `Exact` shares them with its vjps."""
        last = system.move(system(t + h, y1, args), h, dw.w)
        y = 2 * z1 - y1 - last
        first = system.move(system(t, y, args), h, dw.w)
        return z1 - 0.5 * last - 0.5 * first, y


def _mean(a: Array | None, b: Array | None) -> Array | None:
    return None if a is None or b is None else 0.5 * (a + b)


def check_fits(method: AbstractMethod, sde: SDE) -> None:
    """Refuses a scheme that this noise type doesn't allow, with the table of what does fit."""
    if sde.noise in method.orders:
        return
    from tenfold.sde._srk import SRK

    known = (EulerMaruyama, Milstein, Heun, Midpoint, EulerHeun, ReversibleHeun, SRK)
    fits = [f"{m.__name__} ({m.orders[sde.noise]:g})" for m in known if sde.noise in m.orders]
    raise ValueError(
        f"sde: {type(method).__name__} is for {', '.join(method.orders)} noise, this equation's is "
        f"{sde.noise}; these fit (strong order): {', '.join(fits)}"
    )
