r"""What one more sample adds to the IWAE bound, in two ways.

L_n = log(S_n / n) with S_n = w_1 + ... + w_n. The paper's D_n = L_n - L_{n-1} depends on which
sample came last. Its mean over the order of the n samples leaves each out in turn:

$$D_n = L_n - \frac{1}{n} \sum_i \log\frac{S_n - w_i}{n - 1}
      = \frac{1}{n} \sum_i g(p_i) - g(1/n), \quad p_i = w_i / S_n, \quad g(p) = -\log(1 - p) - p$$

Since g is convex and the p_i have mean 1/n, this is never negative. E[D_n^2] falls from O(n^-2)
to O(n^-4).

All n at once in O(n) scalars: g(p) = p^2/2 + p^3/3 + ..., and the power sums of p follow a linear
recurrence. At most one p_i exceeds 1/2; the largest gets g itself, and for the others the
series stops at 2^-TERMS.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from tenfold.sumo._scans import before, linear_recurrence, running_top


def log_sums_and_differences(
    logw: Float[Array, " rows"], pos: Int[Array, " rows"], kind: str
) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """log S_n and D_n at each row, n = pos + 1; D_1 = 0.

    **Arguments:** series laid end to end, `pos` 0, 1, ... within each; `kind` "paper" or "loo".
    """
    first = pos == 0
    n = (pos + 1).astype(logw.dtype)
    top, rest = running_top(logw, first)
    log_sum = jnp.logaddexp(top, rest)
    shrink = jnp.where(first, -jnp.inf, before(log_sum) - log_sum)  # log(S_{n-1} / S_n)
    inverse = 1 / jnp.where(first, 2, n)
    if kind == "paper":
        return log_sum, jnp.where(first, 0, -jnp.where(first, 0, shrink) + jnp.log1p(-inverse))
    total = _leave_one_out(logw, log_sum, shrink, jnp.where(first, 0, top - rest))
    difference = total * inverse - (-jnp.log1p(-inverse) - inverse)
    return log_sum, jnp.where(first, 0, difference)


def _leave_one_out(logw: Array, log_sum: Array, shrink: Array, lead: Array) -> Array:
    """sum_i g(p_i); `lead` is the log of the largest weight over the sum of the others."""
    order = jnp.arange(2, 1 + terms(logw.dtype), dtype=logw.dtype)
    # exp(r log) where log = -inf: its gradient, r exp(-inf), is 0.
    share = jnp.exp(order[None, :] * (logw - log_sum)[:, None])
    alive = jnp.isfinite(shrink)
    keep = jnp.exp(order[None, :] * jnp.where(alive, shrink, 0)[:, None])
    powers = linear_recurrence(jnp.where(alive[:, None], keep, 0), share)
    series = jnp.sum(powers / order[None, :], axis=1)
    p = jax.nn.sigmoid(lead)
    exact = jax.nn.softplus(lead) - p
    of_top = jnp.sum(p[:, None] ** order[None, :] / order[None, :], axis=1)
    return series + exact - of_top


def terms(dtype: jnp.dtype) -> int:
    """Of the series of g: 2^-terms is below the rounding of `dtype`."""
    return 22 if jnp.finfo(dtype).bits <= 32 else 48


def differences(logw: Float[Array, "... n"], kind: str = "loo") -> Float[Array, "... n_minus_1"]:
    """D_2, ..., D_n of each row of log-weights: for pilots and `OnlineTail`."""
    pos = jnp.arange(logw.shape[-1], dtype=jnp.int32)
    one = lambda row: log_sums_and_differences(row, pos, kind)[1][1:]  # noqa: E731
    return jnp.vectorize(one, signature="(n)->(k)")(logw)


def log_mean_curve(logw: Float[Array, " n"]) -> Float[Array, " n"]:
    r"""L_1, ..., L_n of one datum: $L_k = \log \frac{1}{k} \sum_{i \leq k} w_i$, the IWAE_k bounds.

    Finite for log-weights of any size. (arXiv 1509.00519; 2004.00353, equation 2.)
    """
    n = jnp.arange(1, logw.shape[0] + 1, dtype=logw.dtype)
    return jax.lax.cumlogsumexp(logw) - jnp.log(n)


def masked_rows(valid: Bool[Array, " rows"], logw: Array, pos: Array) -> tuple[Array, Array]:
    """Rows that are not there, each as a series of its own with weight 1."""
    return jnp.where(valid, logw, jnp.zeros_like(logw)), jnp.where(valid, pos, 0)
