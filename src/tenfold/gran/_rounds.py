"""A round of message passing with gates, and the mixture's head; first layers act on nodes.

Where a layer acts on a difference of two nodes' states, W (h_i - h_j) = W h_i - W h_j: the products
are made once a node and not once an edge.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int

from tenfold.base.typing import Key
from tenfold.nets import Dense


def plus(x: Float[Array, "... size"], b: Float[Array, " size"]) -> Float[Array, "... size"]:
    return x + jnp.broadcast_to(b, x.shape)


class Round(eqx.Module):
    r"""One round: messages along edges, gates, and a GRU cell at the nodes.

    $$m_{sr} = f([h_s - h_r, x_{sr}]), \quad g_{sr} = \sigma(a([h_s - h_r, x_{sr}])), \quad
      h_r' = GRU(\textstyle\sum_s m_{sr} g_{sr}, h_r)$$

    f and a have one hidden layer; x says each end's place in the block, and the edge's category.
    (arXiv 1910.00760, its GNN with attention.)
    """

    first: Float[Array, "hidden wide"]
    sent: Float[Array, "places wide"]
    received: Float[Array, "places wide"]
    category: Float[Array, "kinds wide"] | None
    message: Dense
    gate: Dense | None
    inner: Dense
    state: Dense
    hidden: int = eqx.field(static=True)

    def __init__(
        self, hidden: int, gate: int, places: int, kinds: int, *, dtype: DTypeLike, key: Key
    ) -> None:
        """`hidden` + `gate` is the first layers' width; a gate of width 0 is none."""
        keys = jax.random.split(key, 8)
        wide = hidden + gate
        limit = 1 / math.sqrt(hidden)

        def table(key: Key, rows: int) -> Array:
            return jax.random.uniform(key, (rows, wide), dtype, -limit, limit)

        self.first = table(keys[0], hidden)
        self.sent, self.received = table(keys[1], places), table(keys[2], places)
        # One category needs no name: edges of the block are told apart by their places.
        self.category = table(keys[3], kinds) if kinds > 1 else None
        self.message = Dense(hidden, hidden, dtype=dtype, key=keys[4])
        self.gate = Dense(gate, hidden, dtype=dtype, key=keys[5]) if gate else None
        self.inner = Dense(hidden, 3 * hidden, dtype=dtype, key=keys[6])
        self.state = Dense(hidden, 3 * hidden, dtype=dtype, key=keys[7])
        self.hidden = hidden

    def ends(
        self, h: Float[Array, "... hidden"], place: Int[Array, "..."]
    ) -> tuple[Float[Array, "... wide"], Float[Array, "... wide"]]:
        """What each node gives to an edge's first layer as its sender, and as its receiver."""
        y = h @ self.first
        return y + self.sent[place], self.received[place] - y

    def named(self, kind: Int[Array, "..."]) -> Any:
        """What an edge's category (0 none, else from 1) adds to the first layer, or None."""
        if self.category is None:
            return None
        rows = self.category[jnp.maximum(kind - 1, 0)]
        return jnp.where((kind > 0)[..., None], rows, jnp.zeros_like(rows))

    def send(self, first: Float[Array, "... wide"]) -> Float[Array, "... hidden"]:
        """The gated message of an edge, from the sum of its ends."""
        active = jax.nn.relu(first)
        out = self.message(active[..., : self.hidden])
        if self.gate is None:
            return out
        return out * jax.nn.sigmoid(self.gate(active[..., self.hidden :]))

    def update(
        self, total: Float[Array, "... hidden"], h: Float[Array, "... hidden"]
    ) -> Float[Array, "... hidden"]:
        """The GRU cell."""
        return self.cell(total, self.state(h), h)

    def cell(
        self,
        total: Float[Array, "... hidden"],
        kept: Float[Array, "... thrice"],
        h: Float[Array, "... hidden"],
    ) -> Float[Array, "... hidden"]:
        """The GRU cell, given its product with the state."""
        given = self.inner(total)
        r, z, n = jnp.split(given, 3, axis=-1)
        r_state, z_state, n_state = jnp.split(kept, 3, axis=-1)
        reset, stay = jax.nn.sigmoid(r + r_state), jax.nn.sigmoid(z + z_state)
        return (1 - stay) * jnp.tanh(n + reset * n_state) + stay * h


class Head(eqx.Module):
    """From the difference of two nodes' states: logits of the pair, and of the mixture."""

    first: Float[Array, "hidden twice"]
    bias: Float[Array, " twice"]
    second: Dense
    logits: Dense
    mix_second: Dense
    mix: Dense

    def __init__(
        self,
        hidden: int,
        mixtures: int,
        kinds: int,
        density: float,
        *,
        dtype: DTypeLike,
        key: Key,
    ) -> None:
        keys = jax.random.split(key, 5)
        limit = 1 / math.sqrt(hidden)
        self.first = jax.random.uniform(keys[0], (hidden, 2 * hidden), dtype, -limit, limit)
        self.bias = jnp.zeros(2 * hidden, dtype)
        self.second = Dense(hidden, hidden, dtype=dtype, key=keys[1])
        logits = Dense(hidden, mixtures * kinds, dtype=dtype, key=keys[2])
        odds = jnp.full(mixtures * kinds, math.log(density / (1 - density) / kinds), dtype)
        self.logits = eqx.tree_at(lambda layer: layer.bias, logits, odds)
        self.mix_second = Dense(hidden, hidden, dtype=dtype, key=keys[3])
        self.mix = Dense(hidden, mixtures, dtype=dtype, key=keys[4])

    def edge(self, first: Float[Array, "... hidden"]) -> Float[Array, "... out"]:
        """Logits of the pair, mixture by category; no edge has logit 0. (its MLP_theta)

        `first` is the first half of the first layer.
        """
        return self.logits(jax.nn.relu(self.second(jax.nn.relu(first))))

    def share(self, first: Float[Array, "... hidden"]) -> Float[Array, "... mixtures"]:
        """The pair's part in the mixture's logits, which are their mean. (its MLP_alpha)

        `first` is the second half of the first layer.
        """
        return self.mix(jax.nn.relu(self.mix_second(jax.nn.relu(first))))
