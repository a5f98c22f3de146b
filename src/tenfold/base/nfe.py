"""How many evaluations of the vector field a solve took."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tenfold.base._solver import AbstractWrappedSolver
from tenfold.base.typing import VectorField


class StartCount(eqx.Module):
    """The state of `CountStart`."""

    inner: Any
    rejected: Int[Array, ""]
    """Attempts rejected before the first accepted step."""
    started: Array
    """Whether a step was accepted yet."""
    lost: Int[Array, ""] | None
    """Evaluations in rejected attempts, where the solver tells them."""


class CountStart(dfx.AbstractAdaptiveStepSizeController):
    """A step-size controller that also counts what it rejects before its first accepted step.

    Diffrax's FSAL solvers evaluate the field once more at each of those attempts. Only a first
    step `dt0` that is too large causes them. For solvers that count for themselves use `counted`.
    """

    controller: dfx.AbstractAdaptiveStepSizeController
    told: bool = eqx.field(static=True, default=False)
    """Whether the solver tells its evaluations beside its error, as `counted` makes it."""

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
        return CountStart(self.controller.wrap(direction), self.told)  # pyright: ignore

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        t, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        none = jnp.zeros((), jnp.int32)
        return t, StartCount(inner, none, jnp.zeros((), bool), none if self.told else None)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, state):
        spent = None
        if self.told:
            y_error, spent = y_error.error, y_error.evaluations.astype(jnp.int32)
        keep, *moved, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, state.inner
        )
        lost = None if spent is None else state.lost + jnp.where(keep, 0, spent)
        started = state.started | keep
        rejected = state.rejected + (~started).astype(jnp.int32)
        return keep, *moved, StartCount(inner, rejected, started, lost), result


class _Told(eqx.Module):
    error: Any
    evaluations: Array  # a float, since Diffrax looks for NaN in all of an error


class _Telling(AbstractWrappedSolver):
    """A solver that counts for itself, and tells what each attempt took beside its error.

    Diffrax takes a rejected step's state back, and the count in it. Only a controller sees, and
    remembers, what became of the attempt.
    """

    counts_evaluations = True

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        y1, error, dense, after, result = self.solver.step(
            terms, t0, t1, y0, args, solver_state, made_jump
        )
        spent = (after.evaluations - solver_state.evaluations).astype(jnp.float32)
        return y1, _Told(error, spent), dense, after, result


def counted(
    solver: dfx.AbstractSolver, controller: dfx.AbstractStepSizeController
) -> tuple[dfx.AbstractSolver, dfx.AbstractStepSizeController]:
    """The same solver and controller, such that `count_nfe` is exact, rejected steps included.

    Solve with both and `SaveAt(solver_state=True, controller_state=True)`, and ask
    `count_nfe(solution, solver)`. Steps, values and gradients stay what they were.
    """
    if isinstance(controller, dfx.ConstantStepSize | dfx.StepTo):
        return solver, controller  # nothing is rejected
    tells = getattr(solver, "counts_evaluations", False)
    counting: Any = CountStart
    return _Telling(solver) if tells else solver, counting(controller=controller, told=bool(tells))


def _evaluations(solver: dfx.AbstractSolver) -> tuple[int, bool]:
    """New evaluations a step, and whether the last of a step is the first of the next."""
    if isinstance(solver, dfx.Euler):
        return 1, False
    if isinstance(solver, dfx.AbstractERK):
        tableau: Any = solver.tableau
        return tableau.num_stages - int(tableau.fsal), bool(tableau.fsal)
    if getattr(solver, "counts_evaluations", False):
        raise ValueError("count_nfe: a solver that counts for itself needs `solver_state=True`")
    raise ValueError(
        f"count_nfe: {type(solver).__name__} takes a number of evaluations that its statistics "
        "don't tell; wrap the field in EvalCounter, or use an explicit Runge-Kutta solver"
    )


def count_nfe(solution: dfx.Solution, solver: dfx.AbstractSolver) -> Any:
    """Evaluations of the vector field by a solver, rejected steps included.

    For explicit Runge-Kutta, NFE = s n + 1 for a solver with s new evaluations a step whose last
    stage opens the next step (Bosh3 3, Tsit5 and Dopri5 6, Dopri8 13), NFE = s n for the others
    (Euler 1, Heun 2), with n the attempted steps; plus, for the former, the attempts rejected
    before the first accepted step. Those are known when the solve used `CountStart(controller)`
    and saved `SaveAt(controller_state=True)`; otherwise they are taken as none, which is so from
    any small enough `dt0`.

    A solver that counts for itself (`hollow.ABM`, `hollow.BDF`) loses its count of a rejected step:
    solve with `solver, controller = counted(solver, controller)` and
    `SaveAt(solver_state=True, controller_state=True)`. Without, the count is known only if no step
    was rejected.

    What a controller evaluates to choose the first step itself (`dt0=None`; `PIDController` does so
    twice) is not the solver's, and not in the count.

    **Returns:** an integer, or an array of them for a vmapped solve; -1 where it isn't known.

    **Raises:** `ValueError` for a solver that neither counts nor is an explicit Runge-Kutta method.
    """
    start = solution.controller_state
    kept = getattr(solution.solver_state, "evaluations", None)
    if kept is not None:
        if isinstance(start, StartCount) and start.lost is not None:
            return kept + start.lost
        return jnp.where(solution.stats["num_rejected_steps"] == 0, kept, -1)
    each, shared = _evaluations(solver)
    count = each * solution.stats["num_steps"]
    if not shared:
        return count
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
