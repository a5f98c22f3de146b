"""Rows drafted a block at a time and verified one by one, in one pass: exact samples of block 1.

Speculative sampling (Leviathan et al. 2023, arXiv 2211.17192) with the model as its own draft. Row
x of the draft p is kept with probability min(1, q(x) / p(x)), q being the law of block 1; the first
row that is not is drawn again from the part of q above p, by rejection from q.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tenfold.base.typing import Key
from tenfold.gran._chunks import Step, step_at
from tenfold.gran._draw import logits_of, pair_mask
from tenfold.gran._kept import Rounds
from tenfold.gran._known import Known, Room, upto, view_of, with_row
from tenfold.gran._model import GRAN
from tenfold.gran._pass import states

TRIES = 1_000_000
"""Where p and q differ by rounding alone, redrawing could go on for ever; it ends here."""

AT_ONCE = 16
"""Rows that are tried at once: where p and q are near, refusals are rare and need many tries."""


class Law(NamedTuple):
    """The laws of some rows: a mixture, and the pairs and the label of each row by its parts."""

    weights: Float[Array, "rows mixtures"]
    """log of the mixture's weights, given the rows before."""
    pairs: Float[Array, "rows mixtures span kinds"]
    labels: Float[Array, "rows mixtures labels"]
    mask: Bool[Array, "rows span"]


class Row(NamedTuple):
    """Kinds of a node's pairs, and its label."""

    kinds: Array
    label: Array


def law_of(
    model: GRAN,
    rounds: Rounds,
    space: Room,
    view: Known,
    at: Step,
    block: int,
    heat: Array,
    told: Any,
) -> Law:
    """Of all rows of a window, the mixture's weights being those of its first."""
    h, new, _ = states(model, rounds, space, view, at, block, told)
    weights, pairs = logits_of(model, space, at, h, new)
    labels = jnp.zeros((block, model.mixtures, 1), h.dtype)
    if model.label_head is not None:
        labels = model.label_head(new).reshape(block, model.mixtures, model.node_kinds) / heat
    i = at.t + upto(block)
    return Law(
        jnp.broadcast_to(jax.nn.log_softmax(weights / heat), (block, model.mixtures)),
        jnp.transpose(pairs / heat, (1, 2, 0, 3)),
        jax.nn.log_softmax(labels),
        pair_mask(model, at, i[:, None], upto(space.span)[None]),
    )


def parts_log_prob(law: Law, row: Row) -> Float[Array, " mixtures"]:
    """log p of a row by each part of the mixture; `law` of this row."""
    kind = jnp.broadcast_to(jnp.maximum(row.kinds - 1, 0)[None, :, None], (*law.pairs.shape[:2], 1))
    picked = jnp.take_along_axis(law.pairs, kind, axis=-1)[..., 0]
    norm = jax.nn.softplus(jax.nn.logsumexp(law.pairs, axis=-1))
    terms = jnp.where((row.kinds > 0)[None], picked, 0) - norm
    return jnp.sum(jnp.where(law.mask[None], terms, 0), axis=-1) + law.labels[:, row.label]


def log_prob_of(law: Law, row: Row) -> Array:
    return jax.nn.logsumexp(law.weights + parts_log_prob(law, row))


class Noise(NamedTuple):
    """What the draws of a row need: Gumbel noise for its choices, and one uniform number.

    One call of the generator for all, since each call is long to compile.
    """

    pairs: Float[Array, "rows span states"]
    labels: Float[Array, "rows labels"]
    part: Float[Array, "rows mixtures"]
    uniform: Float[Array, " rows"]


def noise_for(law: Law, rows: int, key: Key) -> Noise:
    """Noise for `rows` draws from laws of this size."""
    mixtures, span, kinds = law.pairs.shape[-3:]
    sizes = (span * (kinds + 1), law.labels.shape[-1], mixtures, 1)
    flat = jax.random.gumbel(key, (rows, sum(sizes)), law.pairs.dtype)
    pairs, labels, part, last = jnp.split(flat, np.cumsum(sizes)[:-1], axis=1)
    uniform = jnp.exp(-jnp.exp(-last[:, 0]))
    return Noise(pairs.reshape(rows, span, kinds + 1), labels, part, uniform)


def drawn_from(law: Law, part: Array, noise: Noise) -> Row:
    """A row from a part of the mixture; `law` and `noise` of this row."""
    logits = law.pairs[part]
    states = jnp.concatenate([jnp.zeros_like(logits[:, :1]), logits], axis=1)
    kinds = jnp.argmax(states + noise.pairs, axis=1).astype(jnp.int32)
    label = jnp.argmax(law.labels[part] + noise.labels).astype(jnp.int32)
    return Row(jnp.where(law.mask, kinds, 0), label)


def given_earlier(law: Law, rows: Row) -> Law:
    """The draft's law with each row's weights given the rows before it, which tell of the part."""
    terms = jax.vmap(parts_log_prob)(law, rows)
    before = jnp.cumsum(terms, axis=0) - terms
    return law._replace(weights=jax.nn.log_softmax(law.weights + before))


def draw_verified(
    model: GRAN,
    rounds: Rounds,
    plan: Any,
    known: Known,
    t: Array,
    n: Array,
    heat: Array,
    told: Any,
    key: Key,
) -> tuple[Array, Known]:
    """A block is drafted, checked, and kept up to its first refused row, which is drawn anew.

    **Cost:** a window of the block, and one pass over as many windows of one row side by side: no
    fewer operations than block 1 takes, but fewer one after another.
    """
    space, block = plan.space, plan.draft
    first = step_at(model, space, t, jnp.minimum(n - t, block))
    view = view_of(space, known, first.base)
    draft = law_of(model, rounds, space, view, first, block, heat, told)
    noise = noise_for(draft, block, jax.random.fold_in(key, TRIES))
    part = jnp.argmax(draft.weights[0] + noise.part[0])
    rows = jax.vmap(drawn_from, in_axes=(0, None, 0))(draft, part, noise)
    draft = given_earlier(draft, rows)
    ahead = _with_rows(model, known, t, first, rows, block, told)
    short = known.short | (ahead.spilt > space.spill)
    known, guessed = eqx.tree_at(lambda k: k.short, known, short), view_of(space, ahead, first.base)

    def check(b: Array) -> Law:
        # Nodes from t + b on are in the buffers, but this step does not look at them.
        here = step_at(model, space, t + b, 1)
        here = Step(here.low + here.base - first.base, first.t + b, here.count, first.base)
        return law_of(model, rounds, space, guessed, here, 1, heat, told)

    truth = jax.tree.map(lambda x: x[:, 0], jax.vmap(check)(upto(block)))
    p, q = (jax.vmap(log_prob_of)(law, rows) for law in (draft, truth))
    kept = jnp.log(noise.uniform) < q - p
    accepted = jnp.sum(jnp.cumprod(kept.astype(jnp.int32)), dtype=jnp.int32)
    accepted = jnp.minimum(accepted, first.count)
    bad = jnp.minimum(accepted, block - 1)
    refused = accepted < first.count
    ours, theirs = (jax.tree.map(lambda x: x[bad], law) for law in (draft, truth))
    again = _above(ours, theirs, refused, jax.tree.map(lambda x: x[bad], rows), key)
    rows = jax.tree.map(lambda x, y: x.at[bad].set(y), rows, again)
    count = accepted + refused.astype(jnp.int32)
    return t + count, _with_rows(model, known, t, first, rows, count, told)


def _above(draft: Law, truth: Law, needed: Array, row: Row, key: Key) -> Row:
    """A row from the part of q above p: drawn from q, kept with probability 1 - p / q."""

    def attempt(noise: Noise) -> tuple[Array, Row]:
        row = drawn_from(truth, jnp.argmax(truth.weights + noise.part), noise)
        ratio = jnp.exp(log_prob_of(draft, row) - log_prob_of(truth, row))
        return noise.uniform < 1 - ratio, row

    def more(carry: tuple[Array, Array, Row]) -> Array:
        return carry[0] & (carry[1] < TRIES // AT_ONCE)

    def some(carry: tuple[Array, Array, Row]) -> tuple[Array, Array, Row]:
        _, i, _ = carry
        good, rows = jax.vmap(attempt)(noise_for(truth, AT_ONCE, jax.random.fold_in(key, i)))
        # The first that is good, so that trying many at once changes nothing.
        row = jax.tree.map(lambda x: x[jnp.argmax(good)], rows)
        return ~good.any(), i + 1, row

    return jax.lax.while_loop(more, some, (needed, jnp.zeros((), jnp.int32), row))[2]


def _with_rows(
    model: GRAN, known: Known, t: Array, at: Step, rows: Row, count: Any, told: Any
) -> Known:
    """The first `count` rows from node t on, in the buffers."""
    if model.label_head is not None:
        labels = jax.lax.dynamic_update_slice_in_dim(known.labels, rows.label, t, 0)
        known = eqx.tree_at(lambda k: k.labels, known, labels)

    def commit(b: Array, known: Known) -> Known:
        return with_row(model, known, t + b, at.base, rows.kinds[b], told)

    count = jnp.asarray(count, jnp.int32)
    return jax.lax.fori_loop(jnp.zeros_like(count), count, commit, known)
