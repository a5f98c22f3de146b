"""What the multistep solvers share: order, corrector, a restart, dense output."""

from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import PyTree

from tenfold.hollow._history import History, began
from tenfold.hollow._jacobi import JacobiNewton
from tenfold.hollow._stage import Field, Stage, solve_stage


class AbstractMultistep(dfx.AbstractAdaptiveSolver):
    """Arguments as `ABM`'s; a final class names its orders, and does `init` and `step`."""

    order_: int = eqx.field(static=True)
    corrector: optx.AbstractRootFinder
    max_iterations: int = eqx.field(static=True)
    adjoint: optx.AbstractAdjoint

    _orders: ClassVar[tuple[int, ...]] = ()
    _usual: ClassVar[int] = 0
    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar = dfx.ThirdOrderHermitePolynomialInterpolation
    counts_evaluations: ClassVar[bool] = True

    def __init__(
        self,
        order: int | None = None,
        corrector: optx.AbstractRootFinder | None = None,
        *,
        max_iterations: int = 20,
        adjoint: optx.AbstractAdjoint | None = None,
    ) -> None:
        order = self._usual if order is None else order
        owner = type(self).__name__
        if type(order) is not int or order not in self._orders:
            known = ", ".join(map(str, self._orders))
            raise ValueError(f"{owner}: `order` must be one of {known}, got {order!r}")
        if type(max_iterations) is not int or max_iterations < 1:
            raise ValueError(f"{owner}: `max_iterations` must be an int >= 1, got {max_iterations}")
        self.order_, self.max_iterations = order, max_iterations
        self.corrector = JacobiNewton() if corrector is None else _checked(corrector, owner)
        self.adjoint = optx.ImplicitAdjoint() if adjoint is None else adjoint

    def order(self, terms):
        del terms
        return self.order_

    def error_order(self, terms):
        del terms
        return self.order_ + 1

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def _solve(self, field: Field, t: Any, delta: PyTree, gamma: Any, guess: PyTree) -> Stage:
        return solve_stage(
            self.corrector, field, t, delta, gamma, guess,
            max_steps=self.max_iterations, adjoint=self.adjoint,
        )  # fmt: skip


def _checked(corrector: Any, owner: str) -> optx.AbstractRootFinder:
    if not isinstance(corrector, optx.AbstractRootFinder):
        raise ValueError(
            f"{owner}: `corrector` must be a root finder of Optimistix's kind, such as "
            f"JacobiNewton(), got {corrector!r}"
        )
    for name in ("rtol", "atol"):
        value = getattr(corrector, name, 0.0)
        if not isinstance(value, float | int | jax.Array | np.ndarray | np.generic):
            raise ValueError(
                f"{owner}: `corrector` must have an `{name}` of its own, a number, got {value!r}"
            )
    return corrector


def after_jump(field: Field, t0: Any, y0: PyTree, past: History, made_jump: Any) -> History:
    """The history, begun anew after a discontinuity."""
    if made_jump is False:
        return past

    def anew() -> History:
        new = began(t0, field(t0, y0), past.times.size)
        return eqx.tree_at(lambda p: p.evaluations, new, past.evaluations + 1)

    return jax.lax.cond(jnp.asarray(made_jump), anew, lambda: past)


def hermite(y0: PyTree, y1: PyTree, slope0: PyTree, slope1: PyTree, h: Any) -> dict[str, PyTree]:
    """What the cubic through both ends needs."""
    k0, k1 = (jax.tree.map(lambda s: h.astype(s.dtype) * s, s) for s in (slope0, slope1))
    return {"y0": y0, "y1": y1, "k0": k0, "k1": k1}
