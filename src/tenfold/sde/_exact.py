"""The exact gradient of reversible Heun in constant memory (Kidger et al. 2021, 2105.13493).

The forward states are rebuilt by undoing each step. At every node the primal of the one vjp is
also the evaluation that undoing needs, so a backward step costs one vjp, its primal included.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.sde._flow import System, Terms
from tenfold.sde._gradients import AbstractGradient
from tenfold.sde._march import Problem, Saved, chunk_of, in_chunks, march
from tenfold.sde._methods import ReversibleHeun
from tenfold.sde._noise import Increment
from tenfold.sde._split import (
    Trained,
    added,
    solver_with_gradient,
    trained_fields,
    zeros_like,
)


class Exact(AbstractGradient):
    """Backpropagation through reversible Heun without storing it: exact, memory O(1) in steps.

    **Arguments:** `anchor_every`: in float32, and over long or stiff solves, rounding makes the
    rebuilt states drift (`reconstruction_error` tells how far). A state is then kept every so many
    steps, memory O(steps / anchor_every), and taken instead of the rebuilt one.

    **Cost:** one evaluation of the fields a step forward; one vjp a step backward. Reverse mode
    only: `jax.jvp` through it raises JAX's TypeError.
    """

    anchor_every: int | None = eqx.field(static=True, default=None)

    def check(self, problem: Problem) -> None:
        if not isinstance(problem.method, ReversibleHeun):
            raise ValueError(
                f"Exact: only ReversibleHeun can be undone, not {type(problem.method).__name__}; "
                "use Checkpoint() for an exact gradient of any scheme"
            )
        length = problem.segments()[1]
        if self.anchor_every is not None and not 1 <= self.anchor_every:
            raise ValueError(f"Exact: `anchor_every` must be at least 1, got {self.anchor_every}")
        if self.anchor_every is not None and length % self.anchor_every:
            raise ValueError(
                f"Exact: `anchor_every` = {self.anchor_every} must divide the {length} steps "
                "that share a context"
            )

    def __call__(self, problem: Problem) -> Saved:
        def forward(problem: Problem) -> tuple[Saved, Any]:
            progress, y = march(problem, anchor_every=self.anchor_every)
            return (progress.zs, progress.cost), (progress.z, y, progress.anchors)

        def backward(problem: Problem, residuals: Any, cotangents: Saved) -> Trained:
            return _backward(problem, residuals, cotangents, self.anchor_every)

        return solver_with_gradient(forward, backward, problem)


class Node(NamedTuple):
    """Between two steps, on the way back: the step to the right is undone but for v's share."""

    z: Array
    """z without -c(v)/2 of the step to the right."""
    y: Array
    a_z: Array
    """Cotangent of z, from all that lies to the right."""
    a_y: Array
    a_v: Terms
    h: Array
    """Length and increment of the step to the right; 0 where there is none."""
    w: Array
    fields: PyTree
    """Gradient in the fields' arrays so far, and in the context of this segment."""
    context: PyTree


def _backward(
    problem: Problem, residuals: Any, cotangents: Saved, anchor_every: int | None
) -> Trained:
    (z, y, anchors), (ct_zs, ct_cost) = residuals, cotangents
    count, length = problem.segments()
    fields, evaluate = trained_fields(problem)

    def segment(state: Any, first: Any, context: PyTree) -> Any:
        z, y, a_z, a_y, gradient = state
        trained, fixed = eqx.partition(context, eqx.is_inexact_array)

        def at(fields: PyTree, trained: PyTree, t: Any, y: Array) -> Terms:
            return evaluate(fields, eqx.combine(trained, fixed), t, y)

        step = _Undo(problem, at, fields, trained, ct_zs, ct_cost, anchors, anchor_every)
        node = step.first(z, y, a_z, a_y, gradient)
        node = in_chunks(step, node, problem.noise, first, length, chunk_of(problem), reverse=True)
        z, y, a_z, a_y, node = step.last(node, problem.grid.times[first])
        return (z, y, a_z, a_y, node.fields), node.context

    state = (z, y, jnp.zeros_like(z), jnp.zeros_like(z), zeros_like(fields))
    if problem.context is None:
        state, of_context = segment(state, jnp.int32(0), None)
    else:
        firsts = jnp.arange(count, dtype=jnp.int32) * length
        state, of_context = jax.lax.scan(
            lambda s, x: segment(s, *x), state, (firsts, problem.context), reverse=True
        )
    _, _, a_z, a_y, (of_system, of_args) = state
    return of_system, of_args, of_context, a_z + a_y + ct_zs[0]  # y began as z


class _Undo(NamedTuple):
    """One backward step, for `in_chunks`."""

    problem: Problem
    at: Any
    fields: PyTree
    trained: PyTree
    ct_zs: Array
    ct_cost: Array | None
    anchors: tuple[Array, Array] | None
    anchor_every: int | None

    @property
    def system(self) -> System:
        return self.problem.system

    def first(self, z: Array, y: Array, a_z: Array, a_y: Array, gradient: PyTree) -> Node:
        """The node at the end of a segment: nothing to its right but cotangents."""
        like = jax.eval_shape(self.at, self.fields, self.trained, self.problem.grid.times[0], y)
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like)
        w = jax.eval_shape(lambda: self.problem.noise(jnp.int32(0), 1)).w
        zero = jnp.zeros(w.shape[1:], w.dtype)
        h = jnp.zeros((), z.dtype)
        return Node(z, y, a_z, a_y, nothing, h, zero, gradient, zeros_like(self.trained))

    def _pulled(self, node: Node, t: Any, y: Array, a_v: Terms) -> tuple[Terms, Node, Array]:
        """The terms at the node, its gradients added, and the whole cotangent of y."""
        v, pull = jax.vjp(lambda *p: self.at(*p[:2], t, p[2]), self.fields, self.trained, y)
        fields, context, a_y = pull(a_v)
        node = node._replace(
            fields=added(node.fields, fields), context=added(node.context, context)
        )
        return v, node, node.a_y + a_y

    def __call__(self, node: Node, x: tuple[Array, Increment]) -> Node:
        i, dw = x
        grid, system, w = self.problem.grid, self.system, dw.w
        h, y = grid.times[i + 1] - grid.times[i], self._anchored(1, node.y, i + 1)
        a_z = node.a_z + self._arriving(i + 1)
        cost = None if self.ct_cost is None else 0.5 * self.ct_cost
        left = system.move_transpose(0.5 * a_z, h, w, cost)
        v, node, a_y = self._pulled(node, grid.times[i + 1], y, added(node.a_v, left))
        z = self._anchored(0, node.z - 0.5 * system.move(v, node.h, node.w), i + 1)
        step = system.move(v, h, w)
        return node._replace(
            z=z - 0.5 * step,
            y=2 * z - y - step,
            a_z=a_z + 2 * a_y,
            a_y=-a_y,
            a_v=system.move_transpose(0.5 * a_z + a_y, h, w, cost),
            h=h,
            w=w,
        )

    def last(self, node: Node, t: Any) -> tuple[Array, Array, Array, Array, Node]:
        """The node at the start of a segment, whole again."""
        v, node, a_y = self._pulled(node, t, node.y, node.a_v)
        return node.z - 0.5 * self.system.move(v, node.h, node.w), node.y, node.a_z, a_y, node

    def _arriving(self, j: Array) -> Array:
        """The cotangent of what was saved at node j, if it was."""
        ct = self.ct_zs[j // self.problem.grid.substeps]
        if self.problem.grid.substeps == 1:
            return ct
        return jnp.where(j % self.problem.grid.substeps == 0, ct, jnp.zeros_like(ct))

    def _anchored(self, which: int, rebuilt: Array, j: Array) -> Array:
        """z (0) or y (1) at node j: as it was kept, where it was."""
        if self.anchors is None or self.anchor_every is None:
            return rebuilt
        kept = self.anchors[which][j // self.anchor_every]
        return jnp.where(j % self.anchor_every == 0, kept, rebuilt)
