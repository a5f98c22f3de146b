"""log p(x) to high accuracy: IWAE with thousands of samples, a few at a time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PyTree

from tenfold.base.typing import Key
from tenfold.sumo._rows import Encoder, LogJoint, as_batch, batch_size, encode, one_each, row_keys
from tenfold.sumo._sumo import data_ids, sample_key


class Evaluation(eqx.Module):
    """IWAE_k of each datum, and how far its k weights may be trusted."""

    value: Float[Array, " batch"]
    """L_k in nats; its mean lies below log p(x) by about `gap`."""
    gap: Float[Array, " batch"]
    """Estimated Var(w) / (2 k E[w]^2): what the bound lacks, to first order."""
    effective: Float[Array, " batch"]
    """(sum w)^2 / sum w^2, between 1 and k: how many weights count."""
    top: Float[Array, "batch top"]
    """The largest log-weights, in falling order: `pareto_k` of exp(top - top[0]) tells whether
    `gap` can be believed."""
    k: int = eqx.field(static=True)


def evaluate(
    log_joint: LogJoint,
    encoder: Encoder,
    x: PyTree,
    key: Key,
    *,
    k: int = 5000,
    chunk: int = 50,
    top: int = 100,
    ids: Any = None,
) -> Evaluation:
    """IWAE_k by a running logsumexp: memory of `chunk` samples a datum, whatever `k`.

    **Arguments:** as of `sumo`; `k` samples a datum, a multiple of `chunk`; of the `top` largest
    log-weights (at most k) the values are kept. The same samples whatever the `chunk`.

    **Raises:** `ValueError` when `chunk` doesn't divide `k`.
    """
    if k < 1 or chunk < 1 or k % chunk:
        raise ValueError(f"evaluate: `k` must be a multiple of `chunk`, got {k} and {chunk}")
    x = as_batch(x)
    batch, top = batch_size(x), min(top, k)
    q, ids, key = encode(encoder, x), data_ids(x, ids), sample_key(key)
    seg = jnp.repeat(jnp.arange(batch, dtype=jnp.int32), chunk)
    at = lambda tree: jax.tree.map(lambda leaf: leaf[seg], tree)  # noqa: E731
    q_rows, x_rows = at(q), at(x)

    def some(i: Array) -> Array:
        pos = jnp.tile(i * chunk + jnp.arange(chunk, dtype=jnp.int32), batch)
        keys = row_keys(key, ids[seg], pos)
        return one_each(log_joint, q_rows, x_rows, keys).reshape((batch, chunk))

    def step(carry: tuple[Array, Array, Array], i: Array) -> tuple[Any, None]:
        total, squares, largest = carry
        logw = some(i)
        total = jnp.logaddexp(total, jax.nn.logsumexp(logw, axis=1))
        squares = jnp.logaddexp(squares, jax.nn.logsumexp(2 * logw, axis=1))
        largest = jax.lax.top_k(jnp.concatenate([largest, logw], axis=1), top)[0]
        return (total, squares, largest), None

    dtype = jax.eval_shape(some, jnp.int32(0)).dtype
    nothing = jnp.full((batch,), -jnp.inf, dtype)
    start = (nothing, nothing, jnp.full((batch, top), -jnp.inf, dtype))
    steps = jnp.arange(k // chunk, dtype=jnp.int32)
    total, squares, largest = jax.lax.scan(step, start, steps)[0]
    effective = jnp.exp(2 * total - squares)
    size = jnp.asarray(k, dtype)
    return Evaluation(
        value=total - jnp.log(size),
        gap=jnp.maximum(1 / effective - 1 / size, 0) / 2,
        effective=effective,
        top=largest,
        k=k,
    )
