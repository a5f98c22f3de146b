"""The rounds at one step of sampling: work follows the nodes that exist, shapes stay the same."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tenfold.gran._chunks import Links, Step, links_of, over_chunks, piece_of, put
from tenfold.gran._known import AT_A_TIME, Known, Room, upto
from tenfold.gran._model import GRAN
from tenfold.gran._rounds import Round, plus


def states(
    model: GRAN, space: Room, known: Known, at: Step, block: int, told: Any
) -> tuple[Float[Array, "nodes hidden"], Float[Array, "block hidden"]]:
    """States of known and of new nodes after all rounds.

    **Cost:** a round is dense work on the chunks that hold known nodes: their edges, and 2 B a node
    to and from the block. Spilt edges are scattered.
    """
    new = jnp.zeros((block, model.hidden), known.inputs.dtype)
    new = new + jnp.broadcast_to(told, new.shape)
    last = jnp.zeros(model.rounds.first.shape[0], bool).at[-1].set(True)

    # The scratch is handed on and not made anew: filling it would cost more than a small graph.
    links = links_of(space, known, at)
    scratch = jnp.zeros((space.span, model.rounds.first.shape[-1]), new.dtype)

    def step(carry: tuple[Array, Array, Array], each: tuple[Round, Array]):
        return _round(space, known, at, links, *each, *carry), None

    h, new, _ = jax.lax.scan(step, (known.inputs, new, scratch), (model.rounds, last))[0]
    return h, new


def _round(
    space: Room,
    known: Known,
    at: Step,
    links: Links,
    layer: Round,
    last: Array,
    h: Array,
    new: Array,
    y: Array,
) -> tuple[Array, Array, Array]:
    size, block = space.chunk, new.shape[0]

    def active(h: Array) -> Array:
        return jnp.where(last, h, jax.nn.relu(h))

    def project(start: Array, y: Array) -> Array:
        return put(y, piece_of(h, start, size) @ layer.first, start)

    y = over_chunks(space, at, project, y)
    fresh, places = upto(block) < at.count, 1 + upto(block)
    new_sends, new_takes = layer.ends(new, places)
    extra = _spilt(space, known, at, layer, y)

    def chunk(start: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        h, to_new = carry
        own = piece_of(y, start, size)
        takes = layer.received[0][None] - own
        total = _listed(known, links, layer, y, start, takes)
        total = total + piece_of(extra, start, size)
        down = layer.send(new_sends[None] + takes[:, None])
        total = total + jnp.sum(jnp.where(fresh[None, :, None], down, 0), axis=1)
        up = layer.send(plus(own, layer.sent[0])[:, None] + new_takes[None])
        rows = start + upto(size)
        real = (rows >= at.low) & (rows < at.t)
        to_new = to_new + jnp.sum(jnp.where(real[:, None, None], up, 0), axis=0)
        return put(h, active(layer.update(total, piece_of(h, start, size))), start), to_new

    between = layer.send(new_sends[:, None] + new_takes[None])
    apart = fresh[:, None] & ~jnp.eye(block, dtype=bool)
    among = jnp.sum(jnp.where(apart[..., None], between, 0), axis=0)
    h, to_new = over_chunks(space, at, chunk, (h, among))
    return h, active(layer.update(to_new, new)), y


def _listed(known: Known, links: Links, layer: Round, y: Array, start: Array, takes: Array):
    """Messages to a chunk from the nodes in its neighbour lists, some edges at a time."""
    size, number = takes.shape[0], start // takes.shape[0]
    some = AT_A_TIME * size
    near = piece_of(known.near, start, size).ravel()
    kinds = None if known.near_kind is None else piece_of(known.near_kind, start, size).ravel()
    takes = takes + jnp.broadcast_to(layer.sent[0], takes.shape)
    entries, count = links.entry[number], links.count[number]

    def group(g: Array, total: Array) -> Array:
        entry = piece_of(entries, g * some, some)
        node = entry // known.near.shape[1]
        first = y[near[entry]] + takes[node]
        if kinds is not None:
            first = first + layer.named(kinds[entry])
        # A product with zeros and ones adds the edges of each node; a scatter is slower.
        own = (upto(size)[:, None] == node[None]) & (g * some + upto(some) < count)[None]
        return total + own.astype(y.dtype) @ layer.send(first)

    trips = -(-count // some)
    nothing = jnp.zeros((size, layer.hidden), y.dtype)
    return jax.lax.fori_loop(jnp.zeros_like(trips), trips, group, nothing)


def _spilt(space: Room, known: Known, at: Step, layer: Round, y: Array) -> Array:
    """Messages along the edges that no list holds."""
    size = min(space.chunk, space.spill)

    def some(c: Array, total: Array) -> Array:
        # The last group may begin earlier, so as to end with the list: none counts twice.
        start = jnp.minimum(c * size, space.spill - size)
        sender, receiver, kind = piece_of(known.spill, start, size).T
        number = start + upto(size)
        ok = (number >= c * size) & (number < known.spilt)
        ok = ok & (sender >= at.low) & (receiver >= at.low)
        first = y[sender] + layer.sent[0][None] + layer.received[0][None] - y[receiver]
        named = layer.named(kind)
        sent = layer.send(first if named is None else first + named)
        return total.at[receiver].add(jnp.where(ok[:, None], sent, 0))

    count = -(-jnp.minimum(known.spilt, space.spill) // size)
    nothing = jnp.zeros((space.span, layer.hidden), y.dtype)
    return jax.lax.fori_loop(jnp.zeros_like(count), count, some, nothing)
