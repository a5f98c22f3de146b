"""What one would use instead: ELBO, IWAE, the jackknife, truncated multilevel Monte Carlo.

All have the signature of `sumo` and return an `Estimate`, and all are biased: a lower bound
(`elbo`, `iwae`), or one that is corrected in part.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from tenfold.base import logmeanexp
from tenfold.base.typing import Key
from tenfold.sumo._differences import differences
from tenfold.sumo._rows import Encoder, LogJoint, as_batch, batch_size, encode, one_each, row_keys
from tenfold.sumo._sumo import Estimate, data_ids, sample_key


def _weights(log_joint: LogJoint, encoder: Encoder, x: PyTree, key: Key, k: int, ids: Any) -> Array:
    """log-weights (batch, k); sample i of a datum is the one that `sumo` draws as its i-th."""
    if k < 1:
        raise ValueError(f"sumo: `k` must be at least 1 sample, got {k}")
    x = as_batch(x)
    batch = batch_size(x)
    seg = jnp.repeat(jnp.arange(batch, dtype=jnp.int32), k)
    pos = jnp.tile(jnp.arange(k, dtype=jnp.int32), batch)
    at = lambda tree: jax.tree.map(lambda leaf: leaf[seg], tree)  # noqa: E731
    keys = row_keys(sample_key(key), data_ids(x, ids)[seg], pos)
    return one_each(log_joint, at(encode(encoder, x)), at(x), keys).reshape((batch, k))


def _estimate(value: Array, bound: Array, k: int) -> Estimate:
    return Estimate(value, jnp.full(value.shape, k, jnp.int32), bound)


def elbo(
    log_joint: LogJoint, encoder: Encoder, x: PyTree, key: Key, *, k: int = 1, ids: Any = None
) -> Estimate:
    """The mean of `k` log-weights: E = log p(x) - KL(q || posterior). (arXiv 1312.6114.)"""
    value = jnp.mean(_weights(log_joint, encoder, x, key, k, ids), axis=1)
    return _estimate(value, value, k)


def iwae(
    log_joint: LogJoint, encoder: Encoder, x: PyTree, key: Key, *, k: int, ids: Any = None
) -> Estimate:
    """L_k, the log of the mean of `k` weights: below log p(x) by about Var(w/p) / (2 k).

    (arXiv 1509.00519, equation 8.)
    """
    value = logmeanexp(_weights(log_joint, encoder, x, key, k, ids), axis=1)
    return _estimate(value, value, k)


def jackknife(
    log_joint: LogJoint, encoder: Encoder, x: PyTree, key: Key, *, k: int, ids: Any = None
) -> Estimate:
    """k L_k - (k - 1) mean of the L_{k-1} without one sample each: a bias of O(1/k^2).

    Jackknife variational inference of order 1 (Nowozin, ICLR 2018). `k` >= 2.
    """
    if k < 2:
        raise ValueError(f"jackknife: `k` must be at least 2 samples, got {k}")
    logw = _weights(log_joint, encoder, x, key, k, ids)
    bound = logmeanexp(logw, axis=1)
    return _estimate(bound + (k - 1) * differences(logw)[:, -1], bound, k)


def mlmc(
    log_joint: LogJoint,
    encoder: Encoder,
    x: PyTree,
    key: Key,
    *,
    levels: int = 4,
    first: int = 8,
    ids: Any = None,
) -> Estimate:
    """A telescoping sum over levels l = 1..`levels` of 2^l samples, cut there: biased like IWAE of
    2^levels samples, for fewer rows at the same variance.

    Level 0 is the mean of `first` log-weights; level l the mean of about first 2^(-1.5 l)
    antithetic differences (Goda, Hironaka and Iwamoto, arXiv 1909.10249).
    """
    if levels < 1 or first < 1:
        raise ValueError(f"mlmc: `levels` and `first` must be at least 1, got {levels}, {first}")
    value = total = None
    rows = 0
    for level in range(levels + 1):
        runs = max(1, math.ceil(first * 2 ** (-1.5 * level)))
        size = 2**level
        rows += runs * size
        of_level = jax.random.fold_in(key, level)
        logw = _weights(log_joint, encoder, x, of_level, runs * size, ids)
        logw = logw.reshape((-1, runs, size))
        term = logmeanexp(logw, axis=2)
        if level:
            halves = logmeanexp(logw.reshape((-1, runs, 2, size // 2)), axis=3)
            term = term - jnp.mean(halves, axis=2)
        total = jnp.mean(term, axis=1)
        value = total if value is None else value + total
    assert value is not None
    return _estimate(value, value, rows)
