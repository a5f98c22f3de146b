"""The rounds at one step of sampling: work follows the nodes that exist, shapes stay the same."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tenfold.gran._chunks import Edges, Step, edges_of, over_chunks, piece_of, put
from tenfold.gran._kept import Kept, Rounds, nothing_kept, refreshed
from tenfold.gran._known import Known, Room, upto
from tenfold.gran._messages import (
    AT_A_TIME,
    among,
    down_to,
    spilt_messages,
    summed,
    up_from,
)
from tenfold.gran._model import GRAN
from tenfold.gran._rounds import Round


class Here(eqx.Module):
    """What all rounds of a step look at."""

    space: Room
    known: Known
    at: Step
    edges: Edges


def states(
    model: GRAN,
    rounds: Rounds,
    space: Room,
    known: Known,
    at: Step,
    block: int,
    told: Any,
    kept: Kept | None = None,
) -> tuple[Float[Array, "nodes hidden"], Float[Array, "block hidden"], Kept]:
    """States of known and of new nodes after all rounds, and what the next step may keep.

    **Cost:** a round is dense work on the chunks that hold known nodes: their edges, and 2 B a node
    to and from the block. Spilt edges are scattered. Of the first round and of the second's edges
    only what is not in `kept` is computed.
    """
    if kept is None:
        kept = nothing_kept(model, space.span, block)
    new = jnp.zeros((block, model.hidden), known.inputs.dtype)
    new = new + jnp.broadcast_to(told, new.shape)
    kept = refreshed(model, rounds, space, known, at, kept, new)
    layer = rounds.first
    total = kept.up + among(layer, *layer.ends(new, 1 + upto(block)), at)
    new, more = layer.update(total, new), rounds.rest.first.shape[0]
    if not more:
        return kept.state, new, kept
    number = upto(more)
    here = Here(space, known, at, edges_of(space, known, at, more=AT_A_TIME))

    def step(carry: tuple[Array, Array, Array], each: tuple[Round, Array, Array]):
        return _round(here, kept, *each, *carry), None

    start = (kept.state, jax.nn.relu(new), kept.z)
    h, new, _ = jax.lax.scan(step, start, (rounds.rest, number == 0, number == more - 1))[0]
    return h, new, kept


def _round(
    here: Here,
    kept: Kept,
    layer: Round,
    second: Array,
    last: Array,
    h: Array,
    new: Array,
    y: Array,
) -> tuple[Array, Array, Array]:
    """`second`: `y`, the sums of messages along edges and the cell's products are kept."""
    space, at, size = here.space, here.at, here.space.chunk

    def active(h: Array) -> Array:
        return jnp.where(last, h, jax.nn.relu(h))

    def project(start: Array, y: Array) -> Array:
        return put(y, piece_of(h, start, size) @ layer.first, start)

    chunks = -(-at.t // size)
    y = over_chunks(space, at, project, y, jnp.where(second, chunks, 0))
    new_sends, new_takes = layer.ends(new, 1 + upto(new.shape[0]))
    extra = spilt_messages(space, here.known, at, layer, y)

    edges = here.edges
    sums = summed(layer, edges, y, jnp.where(second, 0, edges.count))

    def chunk(start: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        h, to_new = carry
        own = piece_of(y, start, size)
        takes = layer.received[0][None] - own
        listed = jnp.where(
            piece_of(edges.any, start, size)[:, None], sums[piece_of(edges.rank, start, size)], 0
        )
        total = jnp.where(
            second, piece_of(kept.total, start, size), listed + piece_of(extra, start, size)
        )
        total = total + down_to(layer, takes, new_sends, at)
        rows = start + upto(size)
        to_new = to_new + up_from(layer, own, new_takes, (rows >= at.low) & (rows < at.t))
        mine = piece_of(h, start, size)
        cell = jax.lax.cond(
            second, lambda: piece_of(kept.cell, start, size), lambda: layer.state(mine)
        )
        return put(h, active(layer.cell(total, cell, mine)), start), to_new

    h, to_new = over_chunks(space, at, chunk, (h, among(layer, new_sends, new_takes, at)))
    return h, active(layer.update(to_new, new)), y
