"""Messages of one round while a graph grows: between known nodes, and from and to the new ones."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tenfold.gran._chunks import Edges, Links, Step, piece_of, put
from tenfold.gran._known import Known, Room, upto
from tenfold.gran._rounds import Round, plus

AT_A_TIME = 16
"""Edges that are worked on at a time."""


def summed(
    layer: Round, edges: Edges, y: Float[Array, "span wide"], count: Int[Array, ""]
) -> Float[Array, "ranks hidden"]:
    """Sums of messages along the first `count` edges, by their receivers' ranks."""
    ends = layer.sent[0] + layer.received[0]

    def group(g: Array, totals: Array) -> Array:
        start = g * AT_A_TIME
        sender, receiver = (piece_of(x, start, AT_A_TIME) for x in (edges.sender, edges.receiver))
        first = plus(y[sender] - y[receiver], ends)
        if edges.kind is not None:
            first = first + layer.named(piece_of(edges.kind, start, AT_A_TIME))
        rank = edges.rank[receiver]
        # A product with zeros and ones adds the edges of each node; a scatter is slower.
        own = (rank[None] - rank[0] == upto(AT_A_TIME)[:, None]) & (
            start + upto(AT_A_TIME) < count
        )[None]
        new = own.astype(y.dtype) @ layer.send(first)
        return put(totals, piece_of(totals, rank[0], AT_A_TIME) + new, rank[0])

    trips = -(-count // AT_A_TIME)
    nothing = jnp.zeros((y.shape[0] + AT_A_TIME, layer.hidden), y.dtype)
    return jax.lax.fori_loop(jnp.zeros_like(trips), trips, group, nothing)


def listed(
    layer: Round, links: Links, y: Float[Array, "span wide"], takes: Float[Array, "rows wide"]
) -> Float[Array, "rows hidden"]:
    """Sums of messages to some rows along the edges in their neighbour lists.

    `takes`: what the rows give as receivers.
    """
    size = takes.shape[0]
    takes = takes + jnp.broadcast_to(layer.sent[0], takes.shape)
    slots = links.near.shape[0] // size

    def group(g: Array, total: Array) -> Array:
        entry = piece_of(links.entry, g * size, size)
        node = entry // slots
        first = y[links.near[entry]] + takes[node]
        if links.kinds is not None:
            first = first + layer.named(links.kinds[entry])
        own = (upto(size)[:, None] == node[None]) & (g * size + upto(size) < links.count)[None]
        return total + own.astype(y.dtype) @ layer.send(first)

    trips = -(-links.count // size)
    nothing = jnp.zeros((size, layer.hidden), y.dtype)
    return jax.lax.fori_loop(jnp.zeros_like(trips), trips, group, nothing)


def down_to(
    layer: Round, takes: Float[Array, "rows wide"], new_sends: Float[Array, "block wide"], at: Step
) -> Float[Array, "rows hidden"]:
    """Sums of the new nodes' messages to known ones."""
    sent = layer.send(new_sends[None] + takes[:, None])
    fresh = upto(new_sends.shape[0]) < at.count
    return jnp.sum(jnp.where(fresh[None, :, None], sent, 0), axis=1)


def up_from(
    layer: Round,
    own: Float[Array, "rows wide"],
    new_takes: Float[Array, "block wide"],
    real: Bool[Array, " rows"],
) -> Float[Array, "block hidden"]:
    """Sums of the messages of those rows that are `real` to the new nodes."""
    sent = layer.send(plus(own, layer.sent[0])[:, None] + new_takes[None])
    return jnp.sum(jnp.where(real[:, None, None], sent, 0), axis=0)


def among(
    layer: Round, new_sends: Float[Array, "block wide"], new_takes: Float[Array, "block wide"],
    at: Step,
) -> Float[Array, "block hidden"]:  # fmt: skip
    """Sums of the new nodes' messages to each other."""
    block = new_sends.shape[0]
    if block == 1:
        return jnp.zeros((1, layer.hidden), new_sends.dtype)
    between = layer.send(new_sends[:, None] + new_takes[None])
    apart = (upto(block) < at.count)[:, None] & ~jnp.eye(block, dtype=bool)
    return jnp.sum(jnp.where(apart[..., None], between, 0), axis=0)


def spilt_messages(
    space: Room, known: Known, at: Step, layer: Round, y: Float[Array, "span wide"]
) -> Float[Array, "span hidden"]:
    """Sums of messages along the edges that no list holds."""
    size = min(space.chunk, space.spill)

    def some(c: Array, total: Array) -> Array:
        # The last group may begin earlier, so as to end with the list: none counts twice.
        start = jnp.minimum(c * size, space.spill - size)
        sender, receiver, kind = piece_of(known.spill, start, size).T
        number = start + upto(size)
        ok = (number >= c * size) & (number < known.spilt)
        ok = ok & (sender >= at.low) & (receiver >= at.low) & (sender < at.t) & (receiver < at.t)
        first = y[sender] + layer.sent[0][None] + layer.received[0][None] - y[receiver]
        named = layer.named(kind)
        sent = layer.send(first if named is None else first + named)
        return total.at[receiver].add(jnp.where(ok[:, None], sent, 0))

    count = -(-jnp.minimum(known.spilt, space.spill) // size)
    nothing = jnp.zeros((space.span, layer.hidden), y.dtype)
    return jax.lax.fori_loop(jnp.zeros_like(count), count, some, nothing)
