"""Log-probabilities and Kullback-Leibler divergences of the three distributions used everywhere.

All of one example: every axis of the event is summed, so the result has shape () and a batch is
the caller's `vmap`. Parameters have the event's shape, or shape () to be shared by its entries;
nothing else broadcasts, so a batch passed by mistake is an error and not a wrong sum.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

from tenfold.base.typing import RealLike, Scalar

_LOG_2PI = math.log(2 * math.pi)


def _event_shape(**arguments: Any) -> tuple[int, ...]:
    shapes = {name: jnp.shape(a) for name, a in arguments.items()}
    shape = max(shapes.values(), key=len)
    if any(s not in ((), shape) for s in shapes.values()):
        listed = ", ".join(f"`{name}` {s}" for name, s in shapes.items())
        raise ValueError(
            f"The arguments must have one event shape or shape (), but have {listed}. These "
            "functions take one example: use `jax.vmap` for a batch."
        )
    return shape


def _sum(terms: Array, shape: tuple[int, ...]) -> Scalar:
    # A term shared by all entries counts once for each of them.
    return jnp.sum(jnp.broadcast_to(terms, shape))


def normal_log_prob(x: RealLike, mean: RealLike, scale: RealLike) -> Scalar:
    """log N(x; mean, diag(scale^2)) = -sum_i [z_i^2/2 + log scale_i + log(2 pi)/2].

    Here z = (x - mean)/scale. `x` has the event's shape (...), `mean` and `scale` too or shape ();
    `scale` > 0 is the standard deviation (a negative one gives nan). Returns shape ().

    **Raises:** ValueError if the shapes differ.
    """
    shape = _event_shape(x=x, mean=mean, scale=scale)
    x, mean, scale = jnp.asarray(x), jnp.asarray(mean), jnp.asarray(scale)
    z = (x - mean) / scale
    return -_sum(z**2 / 2 + jnp.log(scale) + _LOG_2PI / 2, shape)


def normal_kl(mean_p: RealLike, scale_p: RealLike, mean_q: RealLike, scale_q: RealLike) -> Scalar:
    """KL(p || q) = sum_i [r_i^2 - 1 - log r_i^2 + z_i^2]/2 of diagonal normals, in nats.

    Here r = scale_p/scale_q and z = (mean_p - mean_q)/scale_q. Each argument has the event's shape
    or shape (). Returns shape (). **Raises:** ValueError if the shapes differ.
    """
    shape = _event_shape(mean_p=mean_p, scale_p=scale_p, mean_q=mean_q, scale_q=scale_q)
    u = 2 * jnp.log(jnp.divide(scale_p, scale_q))
    z = jnp.divide(jnp.subtract(mean_p, mean_q), scale_q)
    # expm1 keeps the small difference r^2 - 1 where the scales nearly agree.
    return _sum((jnp.expm1(u) - u + z**2) / 2, shape)


def bernoulli_log_prob(x: Shaped[Array, "..."] | RealLike, logits: RealLike) -> Scalar:
    """log p(x) = -sum_i [x_i softplus(-l_i) + (1 - x_i) softplus(l_i)], with logits l.

    `x` is 0 or 1, of any dtype (or between them, for grey pixels); `logits` has its shape or shape
    (). Value and gradients are finite for finite logits of any size; at l_i = inf, x_i = 1 gives 0
    and x_i = 0 gives -inf. Returns shape (). **Raises:** ValueError if the shapes differ.
    """
    shape = _event_shape(x=x, logits=logits)
    logits = jnp.asarray(logits)
    x = jnp.asarray(x).astype(logits.dtype)
    return -_sum(
        _product(x, jax.nn.softplus(-logits)) + _product(1 - x, jax.nn.softplus(logits)), shape
    )


def bernoulli_kl(logits_p: RealLike, logits_q: RealLike) -> Scalar:
    """KL(p || q) = sum_i [p_i log(p_i/q_i) + (1 - p_i) log((1 - p_i)/(1 - q_i))], in nats.

    Here p = sigmoid(logits_p), q likewise. Each argument has the event's shape or shape (). Finite
    logits of any size give finite values and gradients. Returns shape ().

    **Raises:** ValueError if the shapes differ.
    """
    shape = _event_shape(logits_p=logits_p, logits_q=logits_q)
    p, q = jnp.asarray(logits_p), jnp.asarray(logits_q)
    ones = _product(jax.nn.sigmoid(p), jax.nn.softplus(-q) - jax.nn.softplus(-p))
    zeros = _product(jax.nn.sigmoid(-p), jax.nn.softplus(q) - jax.nn.softplus(p))
    return _sum(ones + zeros, shape)


def _product(weight: Array, log_p: Array) -> Array:
    # 0 times an infinite log-probability is 0: that outcome does not occur. The inner `where`
    # keeps the infinity out of the gradient as well.
    never = (weight == 0) & ~jnp.isfinite(log_p)
    return jnp.where(never, 0, weight * jnp.where(never, 0, log_p))


def categorical_log_prob(label: Int[ArrayLike, ""], logits: Float[Array, " k"]) -> Scalar:
    """log softmax(logits)[label], shape (), with `label` in 0..k-1.

    A traced label out of that range gives nan (JAX would wrap or clamp it); a Python integer
    out of it raises ValueError.
    """
    k = logits.shape[0]
    if isinstance(label, int) and not 0 <= label < k:
        raise ValueError(f"`label` must be in 0..{k - 1} for logits of shape ({k},), got {label}.")
    log_p = jax.nn.log_softmax(logits)
    return log_p.at[label].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def categorical_kl(logits_p: Float[Array, " k"], logits_q: Float[Array, " k"]) -> Scalar:
    """KL(p || q) = sum_k p_k (log p_k - log q_k) with p = softmax(logits_p), q likewise, in nats.

    Shape (). A logit of -inf in p drops its class; in q alone it gives inf.

    **Raises:** ValueError if the shapes differ.
    """
    _event_shape(logits_p=logits_p, logits_q=logits_q)
    log_p, log_q = jax.nn.log_softmax(logits_p), jax.nn.log_softmax(logits_q)
    p = jnp.exp(log_p)
    possible = p > 0
    difference = jnp.where(possible, log_p, 0) - jnp.where(possible, log_q, 0)
    return jnp.sum(p * difference)
