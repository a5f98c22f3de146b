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
from tenfold.sde._march import Problem, Saved, at_ends, chunk_of, in_chunks, march, over_segments
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
    steps, memory O(steps / anchor_every), and taken instead of the rebuilt one. Where the scheme
    starts anew (`ReversibleHeun.restart`), the states are those of the way forward as it is.

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
        if self.anchor_every is not None and self.anchor_every < 1:
            raise ValueError(f"Exact: `anchor_every` must be at least 1, got {self.anchor_every}")
        if self.anchor_every is not None and length % self.anchor_every:
            raise ValueError(
                f"Exact: `anchor_every` = {self.anchor_every} must divide the {length} steps "
                "of a run: those between two of `ts`, or all if the scheme never starts anew"
            )

    def __call__(self, problem: Problem) -> Saved:
        def forward(problem: Problem) -> tuple[Saved, Any]:
            progress, ys = march(problem, anchor_every=self.anchor_every)
            ys = ys if problem.method.restarts else ys[-1:]
            return progress.saved, (progress.zs, ys, progress.anchors)

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
    (zs, ys, anchors), (ct_zs, ct_cost, _) = residuals, cotangents
    length = problem.segments()[1]
    fields, evaluate = trained_fields(problem)

    def segment(state: Any, first: Any, context: PyTree) -> Any:
        z, y, a_z, a_y, gradient = state
        if problem.method.restarts:  # the next run began with both at z
            z, y = before_restart(problem, zs, ys, first)
            a_z, a_y = a_z + a_y, jnp.zeros_like(a_y)
        trained, fixed = eqx.partition(context, eqx.is_inexact_array)

        def at(fields: PyTree, trained: PyTree, t: Any, y: Array) -> Terms:
            return evaluate(fields, eqx.combine(trained, fixed), t, y)

        step = _Undo(problem, at, fields, trained, ct_cost)
        node = in_chunks(
            step,
            step.first(z, y, a_z, a_y, gradient),
            problem.noise,
            first,
            length,
            chunk_of(problem),
            reverse=True,
            extra=lambda i: (_arriving(i, problem, ct_zs), anchors_at(i, anchors, anchor_every)),
        )
        z, y, a_z, a_y, node = step.last(node, problem.grid.times[first])
        return (z, y, a_z, a_y, node.fields), node.context

    nothing = jnp.zeros_like(zs[-1])
    state = (zs[-1], ys[-1], nothing, nothing, zeros_like(fields))
    state, of_context = over_segments(problem, segment, state, reverse=True)
    _, _, a_z, a_y, (of_system, of_args) = state
    return of_system, of_args, of_context, a_z + a_y + ct_zs[0]  # y began as z


def before_restart(problem: Problem, zs: Array, ys: Array, first: Any) -> tuple[Array, Array]:
    """z and y at the end of the run of steps that begins with `first`."""
    run = first // problem.segments()[1]
    return zs[run + 1], ys[run]


class _Undo(NamedTuple):
    """One backward step, for `in_chunks`."""

    problem: Problem
    at: Any
    fields: PyTree
    trained: PyTree
    ct_cost: Array | None

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

    def __call__(self, node: Node, x: tuple[Array, Increment, Any]) -> Node:
        i, dw, (arriving, anchor) = x
        grid, system, w = self.problem.grid, self.system, dw.w
        h, y = grid.times[i + 1] - grid.times[i], anchored(anchor, 1, node.y)
        a_z = node.a_z + arriving
        cost = None if self.ct_cost is None else 0.5 * self.ct_cost
        m = node.a_v.m
        left = system.move_transpose(0.5 * a_z, h, w, cost, None if m is None else 0 * m)
        v, node, a_y = self._pulled(node, grid.times[i + 1], y, added(node.a_v, left))
        z = anchored(anchor, 0, node.z - 0.5 * system.move(v, node.h, node.w))
        step = system.move(v, h, w)
        if m is not None and self.ct_cost is not None:
            m = system.growth_transpose(self.ct_cost, w)  # the left end's alone
        return node._replace(
            z=z - 0.5 * step,
            y=2 * z - y - step,
            a_z=a_z + 2 * a_y,
            a_y=-a_y,
            a_v=system.move_transpose(0.5 * a_z + a_y, h, w, cost, m),
            h=h,
            w=w,
        )

    def last(self, node: Node, t: Any) -> tuple[Array, Array, Array, Array, Node]:
        """The node at the start of a segment, whole again."""
        v, node, a_y = self._pulled(node, t, node.y, node.a_v)
        return node.z - 0.5 * self.system.move(v, node.h, node.w), node.y, node.a_z, a_y, node


def _arriving(i: Array, problem: Problem, ct_zs: Array) -> Array:
    return at_ends(i, problem.grid, ct_zs, ct_zs).arriving


Anchor = tuple[Array, Array, Array] | None
"""Whether z and y were kept at a node, and what they were there."""


def anchors_at(i: Array, anchors: tuple[Array, Array] | None, every: int | None) -> Anchor:
    """For a vector of steps at once, at their right ends."""
    if anchors is None or every is None:
        return None
    return (i + 1) % every == 0, anchors[0][(i + 1) // every], anchors[1][(i + 1) // every]


def anchored(anchor: Anchor, which: int, rebuilt: Array) -> Array:
    """z (0) or y (1), as it was kept, where it was."""
    return rebuilt if anchor is None else jnp.where(anchor[0], anchor[1 + which], rebuilt)
