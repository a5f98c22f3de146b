"""How many evaluations of the vector field a solve took."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tenfold.base.typing import VectorField


class StartCount(eqx.Module):
    """The state of `CountStart`."""

    inner: Any
    rejected: Int[Array, ""]
    """Attempts rejected before the first accepted step."""
    started: Array
    """Whether a step was accepted yet."""


class CountStart(dfx.AbstractAdaptiveStepSizeController):
    """A step-size controller that also counts what it rejects before its first accepted step.

    Diffrax's FSAL solvers evaluate the field once more at each of those attempts. Only a first
    step `dt0` that is too large causes them.
    """

    controller: dfx.AbstractAdaptiveStepSizeController

    @property
    def rtol(self):
        return self.controller.rtol

    @property
    def atol(self):
        return self.controller.atol

    @property
    def norm(self):
        return self.controller.norm

    def wrap(self, direction):
        return CountStart(self.controller.wrap(direction))  # pyright: ignore

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        t, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        return t, StartCount(inner, jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, state):
        keep, *moved, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, state.inner
        )
        started = state.started | keep
        rejected = state.rejected + (~started).astype(jnp.int32)
        return keep, *moved, StartCount(inner, rejected, started), result


def _evaluations(solver: dfx.AbstractSolver) -> tuple[int, bool]:
    """New evaluations a step, and whether the last of a step is the first of the next."""
    if isinstance(solver, dfx.Euler):
        return 1, False
    if isinstance(solver, dfx.AbstractERK):
        tableau: Any = solver.tableau
        return tableau.num_stages - int(tableau.fsal), bool(tableau.fsal)
    raise ValueError(
        f"count_nfe: {type(solver).__name__} takes a number of evaluations that its statistics "
        "don't tell; wrap the field in EvalCounter, or use an explicit Runge-Kutta solver"
    )


def count_nfe(solution: dfx.Solution, solver: dfx.AbstractSolver) -> Any:
    """Evaluations of the vector field in an explicit Runge-Kutta solve, rejected steps included.

    NFE = s n + 1 for a solver with s new evaluations a step whose last stage opens the next step
    (Bosh3 3, Tsit5 and Dopri5 6, Dopri8 13), NFE = s n for the others (Euler 1, Heun 2), with n
    the attempted steps; plus, for the former, the attempts rejected before the first accepted
    step. Those are known when the solve used `CountStart(controller)` and saved
    `SaveAt(controller_state=True)`; otherwise they are taken as none, which is so from any small
    enough `dt0`.

    A solver that counts for itself, in `evaluations` of its own state, is believed; solve with
    `SaveAt(solver_state=True)`.

    **Returns:** an integer, or an array of them for a vmapped solve.

    **Raises:** `ValueError` for a solver that neither counts nor is an explicit Runge-Kutta method.
    """
    counted = getattr(solution.solver_state, "evaluations", None)
    if counted is not None:
        return counted
    each, shared = _evaluations(solver)
    count = each * solution.stats["num_steps"]
    if not shared:
        return count
    start = solution.controller_state
    return count + 1 + (start.rejected if isinstance(start, StartCount) else 0)


class EvalCounter:
    """A field that counts its evaluations, *host*: the truth that `count_nfe` is tested against.

    `counter = EvalCounter(f)`, solve with `counter` in place of `f`, read `counter.count()`. It
    calls back to the host at each evaluation: for tests and small studies, not for training.
    Under vmap every example counts.
    """

    def __init__(self, f: VectorField):
        self._f = f
        self._count = 0

    def __call__(self, t: Any, z: Any, args: Any) -> Any:
        jax.debug.callback(self._increment)
        return self._f(t, z, args)

    def _increment(self):
        self._count += 1

    def count(self) -> int:
        """Evaluations so far, all pending ones included."""
        jax.effects_barrier()
        return self._count

    def reset(self) -> None:
        self.count()
        self._count = 0
