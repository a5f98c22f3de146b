"""What is known of a graph while it grows: buffers of one size for graphs of any size."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tenfold.gran._graph import Graph
from tenfold.gran._model import GRAN


def upto(n: int) -> Int[Array, " n"]:
    """0, 1, ..., n - 1 in the buffers' type, whether or not x64 is on."""
    return jnp.arange(n, dtype=jnp.int32)


class Room(eqx.Module):
    """Sizes of the buffers, all static."""

    nodes: int = eqx.field(static=True)
    chunk: int = eqx.field(static=True)
    """Nodes that are worked on at a time; the number of chunks follows the graph."""
    degree: int = eqx.field(static=True)
    """Neighbours of a node that its list holds; more go to a list that all nodes share."""
    spill: int = eqx.field(static=True)
    """Length of that list."""
    span: int = eqx.field(static=True)
    """Earlier nodes, and those of the block, that a step may join, in whole chunks and a few."""


def room(model: GRAN, block: int, chunk: int, degree: int, spill: int) -> Room:
    """Room for every graph up to `n_max`, wherever in a chunk a window begins."""
    reach = model.n_max if model.window is None else min(model.window + chunk, model.n_max)
    span = -(-reach // chunk) * chunk + block + chunk
    nodes = span if model.window is None else -(-model.n_max // chunk) * chunk + span
    return Room(nodes, chunk, degree, max(spill, 1), span)


class Known(eqx.Module):
    """Nodes, edges and inputs so far. An edge is listed at both of its ends."""

    inputs: Float[Array, "nodes hidden"]
    near: Int[Array, "nodes degree"]
    """The first neighbours of each node; what isn't filled is `nodes`, which is none."""
    near_kind: Int[Array, "nodes degree"] | None
    """Their edges' categories, from 1; None where there is one only."""
    degree: Int[Array, " nodes"]
    spill: Int[Array, "spill 3"]
    """Neighbours beyond those: sender, receiver, kind."""
    spilt: Int[Array, ""]
    labels: Int[Array, " nodes"]
    stuck: Bool[Array, ""]
    """Whether a node had to be joined to another and there was none that it could be joined to."""
    short: Bool[Array, ""]
    """Whether a draft overflowed the spill."""
    steps: Int[Array, ""]
    """Windows drawn so far, one after another."""


def start_from(model: GRAN, space: Room, graph: Graph, told: Any) -> Known:
    """A partial graph in the buffers. *Host.*"""
    near = np.full((space.nodes, space.degree), space.nodes, np.int32)
    kind = np.zeros((space.nodes, space.degree), np.int32)
    degree = np.zeros(space.nodes, np.int32)
    spill, rest = np.zeros((space.spill, 3), np.int32), []
    kinds = np.ones(graph.n_edges, int) if graph.edge_labels is None else graph.edge_labels + 1
    for (i, j), k in zip(graph.edges.tolist(), kinds.tolist()):
        for sender, receiver in ((j, i), (i, j)):
            if degree[receiver] < space.degree:
                near[receiver, degree[receiver]] = sender
                kind[receiver, degree[receiver]] = k
            else:
                rest.append((sender, receiver, k))
            degree[receiver] += 1
    spill[: len(rest)] = np.array(rest[: space.spill], int).reshape(-1, 3)
    labels = np.zeros(space.nodes, np.int32)
    if graph.node_labels is not None:
        labels[: graph.n_nodes] = graph.node_labels
    return Known(
        _inputs(model, space, graph, kinds, labels, told),
        jnp.asarray(near),
        jnp.asarray(kind) if model.edge_kinds > 1 else None,
        jnp.asarray(degree),
        jnp.asarray(spill),
        jnp.asarray(len(rest), jnp.int32),
        jnp.asarray(labels),
        jnp.asarray(False),
        jnp.asarray(False),
        jnp.zeros((), jnp.int32),
    )


def _inputs(model: GRAN, space: Room, graph: Graph, kinds, labels: np.ndarray, told: Any):
    column = np.asarray(model.column)
    total = np.zeros((graph.n_nodes, column.shape[-1]), column.dtype)
    i, j = graph.edges.T
    np.add.at(total, i, column[kinds - 1, model.columns_of(i, j)])
    out = jnp.zeros((space.nodes, model.hidden), column.dtype)
    if not graph.n_nodes:
        return out
    rows = model.inputs(jnp.asarray(total), jnp.asarray(labels[: graph.n_nodes]))
    return out.at[: graph.n_nodes].set(rows + jnp.broadcast_to(told, rows.shape))


def view_of(space: Room, known: Known, base: Array) -> Known:
    """The `span` nodes from `base` on, numbered from 0: all that a step looks at.

    Neighbours before `base` get negative numbers.
    """

    def cut(x: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(x, base, space.span)

    return Known(
        cut(known.inputs),
        cut(known.near) - base,
        None if known.near_kind is None else cut(known.near_kind),
        cut(known.degree),
        known.spill - base * jnp.array([[1, 1, 0]], jnp.int32),
        known.spilt,
        cut(known.labels),
        known.stuck,
        known.short,
        known.steps,
    )


def with_edge(known: Known, sender: Array, receiver: Array, kind: Array) -> Known:
    """One direction of an edge, in the receiver's list or, where that is full, in the spill."""
    size, most = known.near.shape[1], known.spill.shape[0]
    place = known.degree[receiver]
    full = place >= size
    at = (receiver, jnp.minimum(place, size - 1))
    near = known.near.at[at].set(jnp.where(full, known.near[at], sender))
    near_kind = known.near_kind
    if near_kind is not None:
        near_kind = near_kind.at[at].set(jnp.where(full, near_kind[at], kind))
    slot = jnp.minimum(known.spilt, most - 1)
    row = jnp.where(full, jnp.stack([sender, receiver, kind]), known.spill[slot])
    return Known(
        known.inputs,
        near,
        near_kind,
        known.degree.at[receiver].add(1),
        known.spill.at[slot].set(row),
        known.spilt + full.astype(jnp.int32),
        known.labels,
        known.stuck,
        known.short,
        known.steps,
    )


def with_row(
    model: GRAN, known: Known, i: Array, base: Array, row: Int[Array, " span"], told: Any
) -> Known:
    """Node i with its edges to earlier nodes: `row` holds their kinds from node `base` on."""
    places = jnp.nonzero(row, size=row.shape[0], fill_value=0)[0].astype(jnp.int32)

    def add(e: Array, carry: tuple[Known, Array]) -> tuple[Known, Array]:
        known, total = carry
        kind, j = row[places[e]], base + places[e]
        known = with_edge(with_edge(known, j, i, kind), i, j, kind)
        return known, total + model.column[kind - 1, model.columns_of(i, j)]

    nothing = jnp.zeros(model.column.shape[-1], model.column.dtype)
    count = jnp.sum(row > 0, dtype=jnp.int32)
    known, total = jax.lax.fori_loop(jnp.zeros_like(count), count, add, (known, nothing))
    h = model.inputs(total[None], known.labels[i][None])[0] + told
    return eqx.tree_at(lambda k: k.inputs, known, known.inputs.at[i].set(h))


def graph_of(model: GRAN, known: Known, n: int) -> Graph:
    """The graph in the buffers. *Host.*"""
    near, degree = np.asarray(known.near[:n]), np.asarray(known.degree[:n])
    held = np.arange(near.shape[1])[None] < degree[:, None]
    receivers, slots = np.nonzero(held)
    kinds = np.ones_like(slots)
    if known.near_kind is not None:
        kinds = np.asarray(known.near_kind)[receivers, slots]
    listed = np.column_stack([near[receivers, slots], receivers, kinds])
    spilt = np.asarray(known.spill[: int(known.spilt)])
    # An edge may be in a list at one end and spilt at the other: each is read where it arrives.
    links = np.concatenate([listed, spilt])
    links = links[links[:, 1] > links[:, 0]]
    return Graph(
        n,
        links[:, [1, 0]].astype(np.int64),
        np.asarray(known.labels[:n], np.int64) if model.node_kinds else None,
        links[:, 2].astype(np.int64) - 1 if model.edge_kinds > 1 else None,
    )
