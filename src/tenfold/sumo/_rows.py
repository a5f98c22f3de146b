"""The log-weights of a plan's rows: the encoder once a datum, the decoder once a row."""

from collections.abc import Callable
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PyTree

from tenfold.base import normal_like, normal_log_prob
from tenfold.base.typing import Key
from tenfold.sumo._plan import RowPlan

LogJoint = Callable[[Any, Any], Any]
"""`(x, z) -> log p(x, z)` of one datum and one latent, shape ()."""


class Posterior(Protocol):
    """q(z | x) of one datum: a pytree (such as an `eqx.Module`) that can draw from itself."""

    def sample_and_log_prob(self, key: Key, /) -> tuple[Any, Any]:
        """z, any pytree of floats, and log q(z | x), shape (); z differentiable."""
        ...


Encoder = Callable[[Any], Any]
"""`x -> Posterior` of one datum."""


class DiagonalNormal(eqx.Module):
    """q(z | x) = N(mean, diag(scale^2)), over any pytree of floats."""

    mean: PyTree[Float[Array, "..."]]
    scale: PyTree[Float[Array, "..."]]
    """Standard deviations, > 0, of the mean's structure and shapes."""

    def sample_and_log_prob(self, key: Key) -> tuple[Any, Array]:
        noise = normal_like(key, self.mean)
        z = jax.tree.map(lambda m, s, e: m + s * e, self.mean, self.scale, noise)
        # At z itself (z - mean) / scale is the noise: no division that could lose it.
        parts = jax.tree.map(
            lambda s, e: (
                normal_log_prob(e, jnp.zeros((), e.dtype), jnp.ones((), e.dtype))
                - jnp.sum(jnp.log(s))
            ),
            self.scale,
            noise,
        )
        return z, jax.tree.reduce(jnp.add, parts)


def as_batch(x: PyTree) -> PyTree:
    """`x` in JAX's arrays: rows are gathered from it by traced numbers.

    **Raises:** `ValueError` unless all leaves share a batch axis.
    """
    batch_size(x)
    return jax.tree.map(jnp.asarray, x)


def batch_size(x: PyTree) -> int:
    """The length of the leading axis of all leaves. **Raises:** `ValueError`."""
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise ValueError(
            f"sumo: all leaves of `x` must share a leading batch axis that isn't empty, got "
            f"{[np.shape(leaf) for leaf in jax.tree.leaves(x)]}"
        )
    return sizes.pop()[0]


def row_keys(key: Key, ids: Array, pos: Array) -> Array:
    """A row's noise depends on its datum's id and its number there, and on no packing."""
    return jax.vmap(lambda i, p: jax.random.fold_in(jax.random.fold_in(key, i), p))(ids, pos)


def encode(encoder: Encoder, x: PyTree) -> Any:
    """The posteriors of a batch.

    **Raises:** `ValueError` when the encoder's output cannot draw from itself.
    """
    q = jax.vmap(encoder)(x)
    if not callable(getattr(q, "sample_and_log_prob", None)):
        raise ValueError(
            "sumo: `encoder(x)` must return a posterior with a method `sample_and_log_prob(key)`, "
            f"such as sumo.DiagonalNormal(mean, scale); got {type(q).__name__}"
        )
    return q


def log_weights(
    log_joint: LogJoint, q: Any, x: PyTree, key: Key, plan: RowPlan, ids: Array
) -> Float[Array, " rows"]:
    """log p(x, z) - log q(z | x) of each row, z ~ q; rows beyond the plan's are anything."""

    def some(seg: Array, pos: Array) -> Array:
        at = lambda tree: jax.tree.map(lambda leaf: leaf[seg], tree)  # noqa: E731
        return one_each(log_joint, at(q), at(x), row_keys(key, ids[seg], pos))

    seg, pos = jnp.asarray(plan.seg), jnp.asarray(plan.pos)
    if plan.chunks == 1:
        return some(seg, pos)
    return _chunked(some, seg, pos, jnp.asarray(plan.valid), plan.chunks)


def one_each(log_joint: LogJoint, q: Any, x: PyTree, keys: Array) -> Array:
    """log-weights of one draw of each posterior."""

    def one(q: Any, x: Any, key: Key) -> Array:
        z, log_q = q.sample_and_log_prob(key)
        log_p = log_joint(x, z)
        if jnp.shape(log_p) != () or jnp.shape(log_q) != ():
            raise ValueError(
                "sumo: `log_joint(x, z)` and the posterior's log-density must be of shape (), got "
                f"{jnp.shape(log_p)} and {jnp.shape(log_q)}"
            )
        return log_p - log_q

    return jax.vmap(one)(q, x, keys)


def _chunked(some: Callable, seg: Array, pos: Array, valid: Array, chunks: int) -> Array:
    """A chunk at a time, computed again for the gradient, so that memory is that of one."""
    cut = lambda a: a.reshape((chunks, -1))  # noqa: E731
    like = jax.eval_shape(some, cut(seg)[0], cut(pos)[0])

    @jax.checkpoint
    def chunk(_: None, rows: tuple[Array, Array, Array]) -> tuple[None, Array]:
        seg, pos, valid = rows
        empty = lambda seg, pos: jnp.zeros(like.shape, like.dtype)  # noqa: E731
        return None, jax.lax.cond(valid[0], some, empty, seg, pos)

    return jax.lax.scan(chunk, None, (cut(seg), cut(pos), cut(valid)))[1].ravel()
