"""The paper's adjoint: the state and its adjoint solved backwards (arXiv 2001.01328, section 3)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.sde._flow import System
from tenfold.sde._gradients import AbstractGradient
from tenfold.sde._march import Problem, Saved, chunk_of, in_chunks, march
from tenfold.sde._noise import Increment
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
        del problem

    def __call__(self, problem: Problem) -> Saved:
        def forward(problem: Problem) -> tuple[Saved, Array]:
            progress, _ = march(problem)
            return (progress.zs, progress.cost), progress.zs

        return solver_with_gradient(forward, _backward, problem)


State = tuple[Array, Array, PyTree, PyTree]
"""z, its adjoint, the gradients in the fields' arrays and in the context."""


def _backward(problem: Problem, zs: Array, cotangents: Saved) -> Trained:
    ct_zs, ct_cost = cotangents
    stratonovich = System(problem.system.sde, problem.system.path_cost, "stratonovich")
    problem = eqx.tree_at(lambda p: p.system, problem, stratonovich)
    count, length = problem.segments()
    fields, evaluate = trained_fields(problem)

    def segment(state: Any, first: Any, context: PyTree) -> Any:
        trained, fixed = eqx.partition(context, eqx.is_inexact_array)

        def moved(fields: PyTree, trained: PyTree, z: Array, t: Any, h: Any, w: Array) -> Saved:
            v = evaluate(fields, eqx.combine(trained, fixed), t, z)
            return stratonovich.move(v, h, w), None if v.k is None else v.k * h

        body = _heun(problem, moved, fields, trained, zs, ct_zs, ct_cost)
        start = (*state, zeros_like(trained))
        z, a, gradient, of_context = in_chunks(
            body, start, problem.noise, first, length, chunk_of(problem), reverse=True
        )
        return (z, a, gradient), of_context

    state = (zs[-1], jnp.zeros_like(zs[-1]), zeros_like(fields))
    if problem.context is None:
        state, of_context = segment(state, jnp.int32(0), None)
    else:
        firsts = jnp.arange(count, dtype=jnp.int32) * length
        state, of_context = jax.lax.scan(
            lambda s, x: segment(s, *x), state, (firsts, problem.context), reverse=True
        )
    _, a, (of_system, of_args) = state
    return of_system, of_args, of_context, a + ct_zs[0]


def _heun(problem, moved, fields, trained, zs, ct_zs, ct_cost):
    grid, substeps = problem.grid, problem.grid.substeps

    def stage(z: Array, a: Array, t: Any, h: Any, w: Array):
        (step, _), pull = jax.vjp(lambda *p: moved(*p, t, h, w), fields, trained, z)
        return step, pull((a, ct_cost))

    def body(state: State, x: tuple[Array, Increment]) -> State:
        z, a, gradient, of_context = state
        i, dw = x
        t0, t1, k = grid.times[i], grid.times[i + 1], (i + 1) // substeps
        saved = (i + 1) % substeps == 0
        z = jnp.where(saved, zs[k], z)
        a = a + jnp.where(saved, ct_zs[k], 0)
        first, (p1, c1, a1) = stage(z, a, t1, t1 - t0, dw.w)
        second, (p2, c2, a2) = stage(z - first, a + a1, t0, t1 - t0, dw.w)
        halved = jax.tree.map(lambda x, y: 0.5 * (x + y), (p1, c1, a1), (p2, c2, a2))
        return (
            z - 0.5 * (first + second),
            a + halved[2],
            added(gradient, halved[0]),
            added(of_context, halved[1]),
        )

    return body
