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


def over_chunks(space: Room, at: Step, body: Callable[[Any, Any], Any], carry: Any) -> Any:
    """`body(first node, carry)` for each chunk that holds a known node."""
    stop = -(-at.t // space.chunk)
    return jax.lax.fori_loop(
        jnp.zeros_like(stop), stop, lambda c, s: body(c * space.chunk, s), carry
    )


class Links(NamedTuple):
    """Where the neighbour lists of each chunk hold an edge of the step, and how many do."""

    entry: Array
    """(chunks, chunk * degree), the filled entries first."""
    count: Array


def links_of(space: Room, known: Known, at: Step) -> Links:
    """Found once a step, so that a round's work follows the edges and not the longest list."""
    size, most = space.chunk, space.chunk * space.degree

    def find(start: Array, links: Links) -> Links:
        near = piece_of(known.near, start, size)
        receives = (start + upto(size) < at.t)[:, None]
        valid = (near >= at.low) & (near < at.t) & receives
        entry = jnp.nonzero(valid.ravel(), size=most, fill_value=0)[0].astype(jnp.int32)
        number, count = start // size, jnp.sum(valid, dtype=jnp.int32)
        return Links(put(links.entry, entry[None], number), links.count.at[number].set(count))

    chunks = -(-space.span // size)
    nothing = Links(jnp.zeros((chunks, most), jnp.int32), jnp.zeros(chunks, jnp.int32))
    return over_chunks(space, at, find, nothing)
