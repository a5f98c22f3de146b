"""The first rounds of sampling, kept from step to step: what a step changes is near its edges.

New nodes all begin alike. So in the first round they tell each known node the same at every step,
and its state after that round depends on its own edges alone; in the second, so do the messages
between known nodes. Only from there on does all change with the block.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tenfold.gran._chunks import Step, gathered_links, over_chunks, piece_of, put
from tenfold.gran._known import Known, Room, upto
from tenfold.gran._messages import down_to, listed, spilt_messages, up_from
from tenfold.gran._model import GRAN
from tenfold.gran._rounds import Round


class Rounds(eqx.Module):
    """The model's rounds, taken apart once and not at each step, where it would cost a copy."""

    first: Round
    second: Round | None
    rest: Round
    """From the second on, stacked; of none if there is but one."""


def taken_apart(rounds: Round) -> Rounds:
    def one(r: int) -> Round:
        return jax.tree.map(lambda x: x[r], rounds)

    more = rounds.first.shape[0] > 1
    return Rounds(one(0), one(1) if more else None, jax.tree.map(lambda x: x[1:], rounds))


class Kept(eqx.Module):
    """Right for the known nodes from `low` to `t` - 1 and `count` new ones; in a view's numbers."""

    low: Int[Array, ""]
    t: Int[Array, ""]
    count: Int[Array, ""]
    """0 if nothing is known yet."""
    y: Float[Array, "nodes wide"]
    """The first layer's products with what nodes start from."""
    up: Float[Array, "block hidden"]
    """What known nodes told the new ones in the first round."""
    state: Float[Array, "nodes hidden"]
    """After the first round."""
    z: Float[Array, "nodes wide"]
    """The first layer's products in the second round."""
    cell: Float[Array, "nodes thrice"]
    """The cell's products in the second round."""
    total: Float[Array, "nodes hidden"]
    """What known nodes tell each other in the second round."""


def nothing_kept(model: GRAN, nodes: int, block: int) -> Kept:
    wide, hidden = model.rounds.first.shape[-1], model.hidden
    zero = jnp.zeros((), jnp.int32)

    def room(*shape: int) -> Array:
        return jnp.zeros(shape, model.offset.dtype)

    return Kept(
        zero, zero, zero, room(nodes, wide), room(block, hidden), room(nodes, hidden),
        room(nodes, wide), room(nodes, 3 * hidden), room(nodes, hidden),
    )  # fmt: skip


def kept_view(kept: Kept, space: Room, base: Array) -> Kept:
    """Of the `span` nodes from `base` on."""

    def cut(x: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(x, base, space.span)

    return Kept(
        kept.low - base, kept.t - base, kept.count, cut(kept.y), kept.up, cut(kept.state),
        cut(kept.z), cut(kept.cell), cut(kept.total),
    )  # fmt: skip


def put_back(kept: Kept, view: Kept, base: Array) -> Kept:
    """The view's nodes among all."""
    return Kept(
        view.low + base, view.t + base, view.count, put(kept.y, view.y, base), view.up,
        put(kept.state, view.state, base), put(kept.z, view.z, base),
        put(kept.cell, view.cell, base), put(kept.total, view.total, base),
    )  # fmt: skip


class Stale(eqx.Module):
    """Whose numbers must be made anew."""

    all: Bool[Array, ""]
    state: Bool[Array, " span"]
    total: Bool[Array, " span"]


def stale(space: Room, known: Known, at: Step, kept: Kept) -> Stale:
    """States: of nodes that joined, or have an edge to one that joined or left. Totals: of these
    and of their neighbours. Of all if the block has another size, or edges are not in the lists.
    """
    i = upto(space.span)
    everything = (kept.count != at.count) | (known.spilt > 0)
    near = known.near
    joined = (near >= kept.t) & (near < at.t)
    left = (near >= kept.low) & (near < at.low)
    here = (i >= at.low) & (i < at.t)
    state = here & (everything | (i >= kept.t) | (joined | left).any(1))
    listed = (near >= at.low) & (near < at.t)
    beside = (state[jnp.clip(near, 0, space.span - 1)] & listed).any(1)
    return Stale(everything, state, here & (state | beside))


def refreshed(
    model: GRAN,
    rounds: Rounds,
    space: Room,
    known: Known,
    at: Step,
    kept: Kept,
    told: Float[Array, "block hidden"],
) -> Kept:
    """`kept`, made right for this step.

    **Cost:** of one round and a half for nodes near new edges.
    """
    here = stale(space, known, at, kept)
    first, second = rounds.first, rounds.second
    new_sends, new_takes = first.ends(told, 1 + upto(told.shape[0]))
    y, up = _joined(model, space, known, at, kept, here.all, first, new_takes)
    state, z, cell = _states(space, known, at, kept, here.state, first, second, y, new_sends)
    total = kept.total
    if second is not None:
        total = _totals(space, known, at, here.total, second, z, total)
    return Kept(at.low, at.t, at.count, y, up, state, z, cell, total)


def _joined(
    model: GRAN,
    space: Room,
    known: Known,
    at: Step,
    kept: Kept,
    everything: Array,
    layer: Round,
    new_takes: Array,
) -> tuple[Array, Array]:
    """`y` and `up` with the nodes that joined; with a window some left, and `up` is made anew."""
    anew = everything | jnp.asarray(model.window is not None)
    first = jnp.where(anew, at.low, kept.t)

    def chunk(start: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        y, up = carry
        own = piece_of(known.inputs, start, space.chunk) @ layer.first
        rows = start + upto(space.chunk)
        real = (rows >= first) & (rows < at.t)
        return put(y, own, start), up + up_from(layer, own, new_takes, real)

    up = jnp.where(anew, 0, kept.up)
    return over_chunks(space, at, chunk, (kept.y, up), first // space.chunk)


def _over_rows(space: Room, which: Bool[Array, " span"], body: Any, carry: Any) -> Any:
    """`body(rows, carry)` for the rows named, a chunk at a time; the last is filled with `span`."""
    rows = jnp.sort(jnp.where(which, upto(space.span), space.span))
    trips = -(-jnp.sum(which, dtype=jnp.int32) // space.chunk)

    def some(c: Array, carry: Any) -> Any:
        return body(piece_of(rows, c * space.chunk, space.chunk), carry)

    return jax.lax.fori_loop(jnp.zeros_like(trips), trips, some, carry)


def _states(
    space: Room,
    known: Known,
    at: Step,
    kept: Kept,
    which: Array,
    layer: Round,
    second: Round | None,
    y: Array,
    new_sends: Array,
) -> tuple[Array, Array, Array]:
    extra = spilt_messages(space, known, at, layer, y)

    def some(rows: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        state, z, cell = carry
        at_rows = jnp.minimum(rows, space.span - 1)
        takes = layer.received[0][None] - y[at_rows]
        links = gathered_links(known, at, at_rows)
        total = extra[at_rows] + listed(layer, links, y, takes)
        total = total + down_to(layer, takes, new_sends, at)
        h = layer.update(total, known.inputs[at_rows])
        if second is None:
            return state.at[rows].set(h, mode="drop"), z, cell
        h = jax.nn.relu(h)
        z = z.at[rows].set(h @ second.first, mode="drop")
        cell = cell.at[rows].set(second.state(h), mode="drop")
        return state.at[rows].set(h, mode="drop"), z, cell

    return _over_rows(space, which, some, (kept.state, kept.z, kept.cell))


def _totals(
    space: Room, known: Known, at: Step, which: Array, layer: Round, z: Array, total: Array
) -> Array:
    extra = spilt_messages(space, known, at, layer, z)

    def some(rows: Array, total: Array) -> Array:
        at_rows = jnp.minimum(rows, space.span - 1)
        takes = layer.received[0][None] - z[at_rows]
        links = gathered_links(known, at, at_rows)
        made = extra[at_rows] + listed(layer, links, z, takes)
        return total.at[rows].set(made, mode="drop")

    return _over_rows(space, which, some, total)
