"""The paper's adjoint: the state and its adjoint solved backwards (arXiv 2001.01328, section 3)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.sde._flow import System
from tenfold.sde._gradients import AbstractGradient
from tenfold.sde._march import (
    AtEnds,
    Problem,
    Saved,
    at_ends,
    chunk_of,
    in_chunks,
    march,
    over_segments,
)
from tenfold.sde._noise import Increment
from tenfold.sde._sde import Calculus
from tenfold.sde._split import Trained, added, solver_with_gradient, trained_fields, zeros_like


class Backsolve(AbstractGradient):
    r"""The stochastic adjoint, solved from T to 0 by Heun's scheme on the same Brownian path.

    $$da = -a^T \frac{\partial f}{\partial z} dt - a^T \frac{\partial g}{\partial z} \circ dW$$

    with f the Stratonovich drift: an Ito equation is corrected, since only the Stratonovich form
    is reversed by a change of sign. The state starts again from the saved one at each of `ts`, the
    cotangent of which is added there (algorithm 2).

    The gradient is that of the continuous equation, off by O(h) for commutative noise and
    O(sqrt h) for general noise, whatever the scheme forward.

    **Cost:** two vjps a step backward, each of drift and noise together; memory O(1) in steps.
    """

    def check(self, problem: Problem) -> None:
        if problem.terms_like().m is not None:
            raise ValueError(
                "Backsolve: the path cost has an Ito integral (`Rates.dw`), which a change of sign "
                "doesn't reverse; use Exact() or Checkpoint()"
            )

    def __call__(self, problem: Problem) -> Saved:
        def forward(problem: Problem) -> tuple[Saved, Array]:
            progress, _ = march(problem)
            return progress.saved, progress.zs

        return solver_with_gradient(forward, _backward, problem)


State = tuple[Array, Array, PyTree, PyTree]
"""z, its adjoint, the gradients in the fields' arrays and in the context."""


def _backward(problem: Problem, zs: Array, cotangents: Saved) -> Trained:
    ct_zs, ct_cost = cotangents.zs, cotangents.cost
    kind, length = problem.system.kind, problem.segments()[1]
    problem = in_stratonovich(problem)
    fields, evaluate = trained_fields(problem)

    def segment(state: Any, first: Any, context: PyTree) -> Any:
        stage, trained = adjoint_stage(problem, evaluate, fields, context, ct_cost)
        body = _step(problem, stage)
        start = (*state, zeros_like(trained))
        z, a, gradient, of_context = in_chunks(
            body,
            start,
            problem.noise,
            first,
            length,
            chunk_of(problem),
            reverse=True,
            extra=lambda i: at_ends(i, problem.grid, zs, ct_zs),
        )
        return (z, a, gradient), of_context

    state = (zs[-1], jnp.zeros_like(zs[-1]), zeros_like(fields))
    state, of_context = over_segments(problem, segment, state, reverse=True)
    _, a, (of_system, of_args) = state
    return in_calculus(of_system, kind), of_args, of_context, a + ct_zs[0]


def in_stratonovich(problem: Problem) -> Problem:
    system = in_calculus(problem.system, "stratonovich")
    return eqx.tree_at(lambda p: p.system, problem, system)


def in_calculus(system: System, kind: Calculus) -> System:
    """The same equation (or its gradient) as a scheme of another calculus sees it."""
    return System(system.sde, system.path_cost, kind)


def adjoint_stage(
    problem: Problem, evaluate: Callable, fields: PyTree, context: PyTree, ct_cost: Array | None
) -> tuple[Callable, PyTree]:
    """`stage(z, a, t, h, w)`: f h + g w, and what its vjp pulls from a: gradients of the fields,
    of this context, and of z. Beside it, what of the context is trained."""
    trained, fixed = eqx.partition(context, eqx.is_inexact_array)

    def stage(z: Array, a: Array, t: Any, h: Any, w: Array):
        def moved(fields: PyTree, trained: PyTree, z: Array) -> tuple[Array, Array | None]:
            v = evaluate(fields, eqx.combine(trained, fixed), t, z)
            return problem.system.move(v, h, w), None if v.k is None else v.k * h

        (step, _), pull = jax.vjp(moved, fields, trained, z)
        return step, pull((a, ct_cost))

    return stage, trained


def adjoint_step(stage: Callable, state: State, t0: Any, t1: Any, w: Array) -> State:
    """One step of Heun's scheme from t1 back to t0."""
    z, a, gradient, of_context = state
    first, (p1, c1, a1) = stage(z, a, t1, t1 - t0, w)
    second, (p2, c2, a2) = stage(z - first, a + a1, t0, t1 - t0, w)
    halved = jax.tree.map(lambda x, y: 0.5 * (x + y), (p1, c1, a1), (p2, c2, a2))
    return (
        z - 0.5 * (first + second),
        a + halved[2],
        added(gradient, halved[0]),
        added(of_context, halved[1]),
    )


def _step(problem: Problem, stage: Callable) -> Callable:
    times = problem.grid.times

    def body(state: State, x: tuple[Array, Increment, AtEnds]) -> State:
        i, dw, (saved, z, arriving) = x
        z = jnp.where(saved, z, state[0])
        state = (z, state[1] + arriving, *state[2:])
        return adjoint_step(stage, state, times[i], times[i + 1], dw.w)

    return body
