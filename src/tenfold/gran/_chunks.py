"""Work on the nodes that exist, some at a time: trips follow the graph, shapes stay the same."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tenfold.gran._known import Known, Room, upto
from tenfold.gran._model import GRAN


class Step(NamedTuple):
    """Where a step is: known nodes `low` to t - 1, and `count` new ones, in a view's numbers."""

    low: Array
    t: Array
    count: Array
    base: Array
    """The graph's number of the view's node 0, which begins a chunk."""


def step_at(model: GRAN, space: Room, t: Array, count: Any) -> Step:
    """The step at row t of the graph, of `count` new nodes."""
    low = jnp.maximum(t - (model.window or model.n_max), 0)
    base = low // space.chunk * space.chunk
    return Step(low - base, t - base, jnp.asarray(count, jnp.int32), base)


def piece_of(x: Array, start: Any, size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, size)


def put(x: Array, piece: Array, start: Any) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, piece, start, 0)


def over_chunks(
    space: Room, at: Step, body: Callable[[Any, Any], Any], carry: Any, first: Any = 0
) -> Any:
    """`body(first node, carry)` for each chunk that holds a known node, from chunk `first` on."""
    stop = -(-at.t // space.chunk)
    return jax.lax.fori_loop(
        jnp.asarray(first, stop.dtype), stop, lambda c, s: body(c * space.chunk, s), carry
    )


class Links(NamedTuple):
    """Where some rows' neighbour lists hold an edge of the step, and how many do."""

    near: Array
    """(rows * degree), the lists one after another."""
    kinds: Array | None
    entry: Array
    """(rows * degree), places in the lists, the filled ones first."""
    count: Array


def _filled(near: Array, at: Step, receives: Any) -> tuple[Array, Array]:
    """Places of the filled entries, first in a list; and how many there are."""
    valid = (near >= at.low) & (near < at.t) & receives
    # Running counts by products with triangles of ones: far quicker than a scan on CPU.
    rows, slots = valid.shape
    within = valid.astype(jnp.float32) @ jnp.triu(jnp.ones((slots, slots), jnp.float32))
    before = jnp.tril(jnp.ones((rows, rows), jnp.float32), -1) @ within[:, -1:]
    place = jnp.where(valid, (within + before).astype(jnp.int32) - 1, valid.size).ravel()
    entry = jnp.zeros(valid.size, jnp.int32).at[place].set(upto(valid.size), mode="drop")
    return entry, jnp.sum(valid, dtype=jnp.int32)


def gathered_links(known: Known, at: Step, rows: Array) -> Links:
    """Of rows by their numbers."""
    near = known.near[rows]
    kinds = None if known.near_kind is None else known.near_kind[rows].ravel()
    return Links(near.ravel(), kinds, *_filled(near, at, jnp.asarray(True)))


class Edges(NamedTuple):
    """All edges of a step, by receiver: found once, so that rounds follow them and not the lists.

    Nodes that receive any are ranked, so that edges side by side have ranks side by side.
    """

    sender: Array
    receiver: Array
    kind: Array | None
    count: Array
    rank: Array
    """(span,), of each node."""
    any: Array
    """(span,), whether it has one."""


def edges_of(space: Room, known: Known, at: Step, *, more: int) -> Edges:
    """With room for `more` than there can be."""
    size, most = space.chunk, space.chunk * space.degree

    def find(start: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        entries, some, count = carry
        near = piece_of(known.near, start, size)
        receives = (start + upto(size) < at.t)[:, None]
        entry, number = _filled(near, at, receives)
        # What stands beyond the filled ones is overwritten by the next chunk's.
        entries = put(entries, start * space.degree + entry, count)
        has = (receives & (near >= at.low) & (near < at.t)).any(1)
        return entries, put(some, has, start), count + number

    room = jnp.zeros(space.span * space.degree + max(most, more), jnp.int32)
    nothing = (room, jnp.zeros(space.span, bool), jnp.zeros((), jnp.int32))
    entry, some, count = over_chunks(space, at, find, nothing)
    kind = None if known.near_kind is None else known.near_kind.ravel()[entry]
    rank = jnp.maximum(jnp.cumsum(some, dtype=jnp.int32) - 1, 0)
    return Edges(known.near.ravel()[entry], entry // space.degree, kind, count, rank, some)
