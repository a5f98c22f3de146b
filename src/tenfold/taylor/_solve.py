"""Solve an ODE and its regularisers together, without the one disturbing the other."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import PyTree

from tenfold.base._solver import AbstractWrappedSolver
from tenfold.base.typing import Key
from tenfold.taylor._regularise import AbstractRegulariser

Regularisers = Mapping[str, AbstractRegulariser]
_END, _FIXED = dfx.SaveAt(t1=True), dfx.ConstantStepSize()


class AugmentedTerm(dfx.AbstractTerm):
    """A term of the pair (z, r): z moves as before, dr/dt is each `stage` regulariser's integrand.

    Regularisers of another quadrature keep their place in r, with slope zero.
    """

    term: dfx.ODETerm
    regs: Regularisers

    def vf(self, t, y, args):
        z, r = y
        f = self.term.vf
        slopes = {
            name: reg.integrand(f, t, z, args).astype(r[name].dtype)
            if reg.quadrature == "stage"
            else jnp.zeros_like(r[name])
            for name, reg in self.regs.items()
        }
        return f(t, z, args), slopes

    def contr(self, t0, t1, **kwargs):
        return self.term.contr(t0, t1, **kwargs)

    def prod(self, vf, control):
        z, slopes = vf
        return self.term.prod(z, control), jax.tree.map(lambda v: control * v, slopes)


class StepQuadrature(AbstractWrappedSolver):
    """A solver of (z, r) that adds the `step` regularisers by quadrature inside each step.

    With Gauss-Legendre nodes c_i and weights w_i on (t0, t1) and the solver's own interpolation,
    r += (t1 - t0) sum_i w_i integrand(t_i, z(t_i)): `nodes` evaluations a step, not one a stage.
    """

    term: dfx.ODETerm
    regs: Regularisers
    nodes: int = eqx.field(static=True, default=1)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        (z1, r1), error, dense_info, solver_state, result = self.solver.step(
            terms, t0, t1, y0, args, solver_state, made_jump
        )
        path = self.solver.interpolation_cls(t0=t0, t1=t1, **dense_info)
        # Diffrax runs backward solves in negated time, and tells the term so.
        direction = getattr(terms, "direction", 1)
        r1 = dict(r1)
        for name, reg in self.regs.items():
            if reg.quadrature == "step":
                total = self._integral(reg, path, t0, t1, direction, args)
                r1[name] = r1[name] + total.astype(r1[name].dtype)
        return (z1, r1), error, dense_info, solver_state, result

    def _integral(self, reg, path, t0, t1, direction, args):
        points, weights = np.polynomial.legendre.leggauss(self.nodes)
        total: Any = 0.0
        for point, weight in zip(points.tolist(), weights.tolist()):
            t = t0 + (0.5 * point + 0.5) * (t1 - t0)
            z, _ = path.evaluate(t)
            value = reg.integrand(self.term.vf, direction * t, z, args)
            total = total + (0.5 * weight * direction) * (t1 - t0) * value
        return total


def _of_state(norm: Callable) -> Callable:
    return lambda pair: norm(pair[0])


def _state_controls(controller: Any) -> Any:
    """The same controller, looking at z alone of the pair (z, r)."""
    if isinstance(controller, dfx.ConstantStepSize | dfx.StepTo):
        return controller
    if isinstance(controller, dfx.ClipStepSizeController):
        inner = _state_controls(controller.controller)
        return eqx.tree_at(lambda c: c.controller, controller, inner)
    if hasattr(controller, "norm"):
        return eqx.tree_at(lambda c: c.norm, controller, _of_state(controller.norm))
    raise ValueError(
        f"solve_regularised: {type(controller).__name__} has no `norm`, so the regularisers can't "
        "be kept out of its step-size control; use PIDController or ConstantStepSize"
    )


def _warn_of_tolerance(controller: Any, y0: PyTree):
    rtol = getattr(controller, "rtol", None)
    epsilon = max(jnp.finfo(jnp.result_type(leaf)).eps for leaf in jax.tree.leaves(y0))
    if isinstance(rtol, int | float) and 0 < rtol < 10 * epsilon:
        warnings.warn(
            f"rtol={rtol:g} is below ten times the resolution of the state's dtype "
            f"({float(epsilon):.1g}): the solver will crawl; use float64 or a larger rtol",
            stacklevel=3,
        )


def _empty_integrals(term: dfx.ODETerm, regs: Regularisers, t0, y0, args) -> dict[str, Array]:
    def zeros(reg: AbstractRegulariser) -> Array:
        with warnings.catch_warnings():  # the solve itself will warn
            warnings.simplefilter("ignore")
            shape = eqx.filter_eval_shape(reg.integrand, term.vf, jnp.asarray(t0), y0, args)
        return jnp.zeros(shape.shape, shape.dtype)

    return {name: zeros(reg) for name, reg in regs.items()}


def _paired(saveat: dfx.SaveAt, extra: list[dfx.SubSaveAt]) -> dfx.SaveAt:
    """The user's `saveat` on z alone, and what the regularisers need beside it."""
    if saveat.dense or saveat.solver_state or saveat.made_jump:
        raise ValueError(
            "solve_regularised: `saveat` may save values (t0, t1, ts, steps), not dense output, "
            "solver state or jumps; solve again without `regs` for those"
        )

    def on_state(sub: dfx.SubSaveAt) -> dfx.SubSaveAt:
        return eqx.tree_at(lambda s: s.fn, sub, lambda t, y, args: sub.fn(t, y[0], args))

    is_sub = lambda x: isinstance(x, dfx.SubSaveAt)  # noqa: E731
    subs = jax.tree.map(on_state, saveat.subs, is_leaf=is_sub)
    return dfx.SaveAt(subs=(subs, tuple(extra)), controller_state=saveat.controller_state)


def solve_regularised(
    term: dfx.ODETerm,
    solver: dfx.AbstractSolver,
    t0: Any,
    t1: Any,
    dt0: Any,
    y0: PyTree,
    regs: Regularisers,
    *,
    args: PyTree = None,
    saveat: dfx.SaveAt = _END,
    stepsize_controller: dfx.AbstractStepSizeController = _FIXED,
    nodes: int = 1,
    throw: bool = False,
    key: Key | None = None,
    **kwargs: Any,
) -> tuple[dfx.Solution, dict[str, Array]]:
    """`diffrax.diffeqsolve` of z, with the integrals of `regs` along it.

    The regularisers never touch the steps: an adaptive controller sees z alone, so steps, values
    and evaluations of z are those of the plain solve.

    **Arguments:** those of `diffrax.diffeqsolve` (`throw=False` here: no host callback, so the
    compiled function can be cached; look at `solution.result` on the host), and

    - `regs`: name -> regulariser (`SpeedReg`, `KineticReg`, `JacFrobReg`, or your own).
    - `nodes`: Gauss-Legendre nodes a step for those of quadrature `step`.
    - `key`: draws the random time of those of quadrature `mc`, the same for a whole batched
      state; under `vmap` over keys, one an example.

    **Returns:** the solution of z, and name -> integral, of the shape of the batch axes.

    **Raises:** `ValueError` for a term that isn't an `ODETerm`, for `mc` without a key, and for a
    controller or `saveat` that can't be restricted to z, or for an implicit solver with `step`.
    """
    if not isinstance(term, dfx.ODETerm):
        raise ValueError(f"solve_regularised: `term` must be an ODETerm, got {type(term).__name__}")
    _warn_of_tolerance(stepsize_controller, y0)
    random = {name: reg for name, reg in regs.items() if reg.quadrature == "mc"}
    y0 = jax.tree.map(jnp.asarray, y0)
    start = (y0, _empty_integrals(term, regs, t0, y0, args))
    extra, time = [dfx.SubSaveAt(t1=True, fn=lambda t, y, args: y[1])], None
    if random:
        time = _random_time(key, t0, t1)
        extra.append(dfx.SubSaveAt(ts=time[None], fn=lambda t, y, args: y[0]))
    if any(reg.quadrature == "step" for reg in regs.values()):
        inner = _inside(solver, kwargs.get("adjoint"))
        solver = StepQuadrature(inner, term, regs, nodes)
    solution = dfx.diffeqsolve(
        AugmentedTerm(term, regs),
        solver,
        t0,
        t1,
        dt0,
        start,
        args,
        saveat=_paired(saveat, extra),
        stepsize_controller=_state_controls(stepsize_controller),
        throw=throw,
        **kwargs,
    )
    ts, ys = cast(Any, solution.ts), cast(Any, solution.ys)
    (times, _), (values, saved) = ts, ys
    integrals = {name: leaf[-1] for name, leaf in saved[0].items()}
    for name, reg in random.items():
        z = jax.tree.map(lambda leaf: leaf[0], saved[1])
        integrals[name] = (t1 - t0) * reg.integrand(term.vf, time, z, args)
    return eqx.tree_at(lambda s: (s.ts, s.ys), solution, (times, values)), integrals


def _inside(solver: dfx.AbstractSolver, adjoint: Any) -> dfx.AbstractSolver:
    """`solver`, ready to be wrapped: what Diffrax adapts in a solver that it can see."""
    if isinstance(solver, dfx.AbstractImplicitSolver):
        raise ValueError(
            f"solve_regularised: {type(solver).__name__} is implicit and takes its tolerances from "
            "the controller; use quadrature 'stage' or 'mc' with it"
        )
    kinds = {dfx.DirectAdjoint: "bounded", dfx.ForwardMode: "lax"}
    if type(adjoint) in kinds and getattr(solver, "scan_kind", "none") is None:
        is_none = lambda x: x is None  # noqa: E731
        return eqx.tree_at(lambda s: s.scan_kind, solver, kinds[type(adjoint)], is_leaf=is_none)
    return solver


def _random_time(key: Key | None, t0: Any, t1: Any) -> Array:
    if key is None:
        raise ValueError("solve_regularised: quadrature 'mc' needs `key`")
    dtype = jnp.result_type(t0, t1, 0.0)
    return t0 + jax.random.uniform(key, (), dtype) * (t1 - t0)
