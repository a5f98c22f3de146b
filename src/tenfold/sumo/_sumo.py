"""`sumo`: unbiased log marginal likelihoods of a latent-variable model (arXiv 2004.00353)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PyTree

from tenfold.base.typing import Key
from tenfold.sumo._estimate import Kind
from tenfold.sumo._plan import RowPlan
from tenfold.sumo._rows import Encoder, LogJoint, as_batch, batch_size, encode, log_weights
from tenfold.sumo._tails import AbstractTail


class Estimate(eqx.Module):
    """What every estimator of log p(x) here returns."""

    value: Float[Array, " batch"]
    """Of log p(x), in nats."""
    samples_used: Int[Array, " batch"]
    """Decoder evaluations a datum."""
    bound: Float[Array, " batch"]
    """L_m, the lower bound that the series begins with (biased)."""


def sumo(
    log_joint: LogJoint,
    encoder: Encoder,
    x: PyTree,
    key: Key,
    *,
    tail: AbstractTail | None = None,
    m: int = 1,
    kind: Kind = "loo",
    plan: RowPlan | None = None,
    ids: Array | None = None,
) -> Estimate:
    r"""Unbiased estimates of log p(x), one a datum.

    $$L_m + \sum_{j=1}^{K} \frac{D_{m+j}}{P(j)}, \qquad E = \log p(x)$$

    **Arguments:**

    - `log_joint(x, z)` -> log p(x, z) of one datum, shape (). `encoder(x)` -> a posterior q(z | x)
      of one datum with a method `sample_and_log_prob(key) -> (z, log q)`, such as
      `DiagonalNormal(mean, scale)`; z is any pytree.
    - `x`: the batch; every leaf has the batch axis first.
    - `tail`, `m`, `kind`: how K is drawn; how many samples the series begins with; `"loo"`,
      `"paper"` or `"antithetic"`. The defaults have a finite variance and need m + 2.61 samples.
    - `plan`: the rows, from `RowPlan.draw(key, batch, tail, m, kind)`; needed under `jit`, since
      their number is drawn on the host. Without one it is drawn from `key`.
    - `ids` (batch,): integers that name the data; a sample's noise hangs on (key, id, number)
      alone, not on the order or the packing of the batch. By default 0, 1, ...

    **Returns:** `Estimate`. Its gradient in what `log_joint` holds is an unbiased one of log p(x).
    In the encoder's parameters it has mean 0 and is nothing to follow: see
    `nll_and_encoder_loss`.

    **Raises:** `ValueError` for a batch that isn't one, an encoder without posterior, values that
    are not scalars, a plan for another batch, and a traced key without a plan.

    **Cost:** m + K decoder evaluations a datum in one axis of rows; O(rows) scalars.
    """
    x = as_batch(x)
    plan = planned(plan, key, batch_size(x), tail, m, kind)
    logw = log_weights(log_joint, encode(encoder, x), x, sample_key(key), plan, data_ids(x, ids))
    value, bound = plan.reduce(logw)
    return Estimate(value, jnp.asarray(plan.count), bound)


def planned(
    plan: RowPlan | None, key: Key, batch: int, tail: AbstractTail | None, m: int, kind: Kind
) -> RowPlan:
    """The plan given, or one drawn. **Raises:** `ValueError` if it is for another batch."""
    if plan is None:
        return RowPlan.draw(jax.random.fold_in(key, 0), batch, tail, m, kind)
    if plan.batch != batch:
        raise ValueError(f"sumo: `plan` is for a batch of {plan.batch}, `x` has {batch}")
    return plan


def sample_key(key: Key) -> Key:
    """The key of the samples: not the one that drew their number."""
    return jax.random.fold_in(key, 1)


def data_ids(x: PyTree, ids: Any) -> Array:
    """**Raises:** `ValueError` unless there is one integer a datum."""
    batch = batch_size(x)
    if ids is None:
        return jnp.arange(batch, dtype=jnp.int32)
    ids = jnp.asarray(ids)
    if ids.shape != (batch,) or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(
            f"sumo: `ids` must be integers of shape ({batch},), got {ids.dtype}{list(ids.shape)}"
        )
    return ids
