"""The evidence lower bound of a latent SDE (arXiv 2001.01328, section 5)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tenfold.base import normal_kl, normal_log_prob
from tenfold.base.typing import Key, RealScalarLike, Scalar
from tenfold.sde._gradients import AbstractGradient
from tenfold.sde._kl import PathKL, StuckPathKL
from tenfold.sde._latent import DiagonalNormal, Encoding, LatentSDE
from tenfold.sde._methods import AbstractMethod
from tenfold.sde._solve import Solution, sdesolve

Parts = dict[str, Array]


def encoded(model: LatentSDE, xs: Array, ts: Array, mask: Array | None) -> tuple[Encoding, Array]:
    """The encoding, and the mask (all True without one).

    **Raises:** `ValueError` for shapes that don't fit together.
    """
    if xs.ndim != 3 or 0 in xs.shape or ts.shape != xs.shape[1:2]:
        raise ValueError(
            f"elbo: `xs` must be (batch, T, D) and `ts` (T,), shared by the batch; got {xs.shape} "
            f"and {ts.shape}. For series with times of their own take the union of the times, and "
            "a mask"
        )
    mask = jnp.ones(xs.shape, bool) if mask is None else mask
    if mask.shape != xs.shape:
        raise ValueError(f"elbo: `mask` must have the shape of `xs`, {xs.shape}, not {mask.shape}")
    encoding = model.encoder(xs, ts, mask)
    _check_encoding(model, encoding, xs)
    return encoding, mask


def _check_encoding(model: LatentSDE, encoding: Encoding, xs: Array) -> None:
    mean, scale, d = encoding.mean.shape, encoding.scale.shape, model.z0_prior.mean.shape[-1]
    if mean != (xs.shape[0], d) or scale != mean:
        raise ValueError(
            f"elbo: with {xs.shape[0]} series and `z0_prior` of {d} dimensions the encoder must "
            f"give a mean and a scale of shape {(xs.shape[0], d)}, got {mean} and {scale}"
        )
    decoded = eqx.filter_eval_shape(model.decoder, encoding.mean).shape
    if decoded != (xs.shape[0], xs.shape[2]):
        raise ValueError(
            f"elbo: `xs` has {xs.shape[2]} channels, the decoder makes shape {decoded} of a latent "
            f"state {mean}"
        )


def start(encoding: Encoding, samples: int, key: Key) -> Float[Array, "samples batch d"]:
    """z0 of q(z0)."""
    shape = (samples, *encoding.mean.shape)
    noise = jax.random.normal(key, shape, encoding.mean.dtype)
    mean, scale = (jnp.broadcast_to(p, shape) for p in (encoding.mean, encoding.scale))
    return mean + scale * noise


def elbo(
    model: LatentSDE,
    xs: Array,
    ts: Array,
    key: Key,
    *,
    beta: RealScalarLike = 1.0,
    samples: int = 1,
    mask: Array | None = None,
    sticking: bool = False,
    substeps: int = 1,
    method: AbstractMethod | None = None,
    gradient: AbstractGradient | None = None,
) -> tuple[Scalar, Parts]:
    r"""The loss -ELBO, a mean over the batch, and its parts.

    $$\log p(x) \geq E_q \sum_i \log p(x_i | z(t_i)) - \beta [ KL(q(z_0) | p(z_0))
      + E_q \int \frac{1}{2} |u|^2 dt ], \qquad g u = f - h$$

    **Arguments:**

    - `xs` (batch, T, D); `ts` (T,), shared by the batch. Series with times of their own: the union
      of all times, and a `mask` of the shape of `xs`, True where there is a value. Hidden values
      change nothing, not even if nan.
    - `beta`: see `kl_weight`. `samples`: paths an example; they share the weights, so a layer is
      one matrix product for all of them.
    - `sticking`: the gradient "sticks the landing": at beta = 1 the variance of the whole loss's
      gradient goes to 0 (but for the grid) where the posterior is the true one. Both divergences
      are then estimates.
    - `substeps`, `method`, `gradient`: as in `sdesolve`.

    **Raises:** `ValueError` for shapes that don't fit together.

    **Returns:** the loss, and `log_likelihood`, `kl_z0`, `kl_path`, each (batch,), in nats and
    without beta. Nothing throws: see `sentinel` for a loss that isn't finite.
    """
    if samples < 1:
        raise ValueError(f"elbo: `samples` must be at least 1, got {samples}")
    encoding, mask = encoded(model, xs, ts, mask)
    at_start, at_path = jax.random.split(key)
    z0 = start(encoding, samples, at_start)
    solution = posterior_paths(
        model, encoding, z0, ts, at_path, sticking=sticking, substeps=substeps, method=method,
        gradient=gradient,
    )  # fmt: skip
    parts = {
        "log_likelihood": _log_likelihood(model, solution.zs, xs, mask),
        "kl_z0": kl_z0(encoding, model.z0_prior, z0 if sticking else None),
        "kl_path": _kl_path(solution, xs),
    }
    bound = parts["log_likelihood"] - beta * (parts["kl_z0"] + parts["kl_path"])
    return -jnp.mean(bound), parts


def posterior_paths(
    model: LatentSDE,
    encoding: Encoding,
    z0: Array,
    ts: Array,
    noise: Any,
    *,
    sticking: bool = False,
    **options: Any,
) -> Solution:
    """The posterior solved from z0, with the divergence as its cost."""
    sde = model.posterior_sde()
    cost = None
    if model.diffusion is not None:
        cost = PathKL(model.prior, model.noise)
        if sticking:
            cost = StuckPathKL(model.prior, sde.drift, sde.diffusion, model.noise)
    return sdesolve(
        sde, z0, ts, noise, args=encoding.shared, context=encoding.context, path_cost=cost,
        **options,
    )  # fmt: skip


def _log_likelihood(model: LatentSDE, zs: Array, xs: Array, mask: Array) -> Array:
    """(batch,): summed over what was seen, mean over samples. `zs` is (T, samples, batch, d)."""
    mean = jnp.moveaxis(model.decoder(zs), 0, 2)  # (samples, batch, T, D)
    seen = jnp.where(mask, xs, jnp.zeros_like(xs))
    terms = model.observation.log_prob(jnp.broadcast_to(seen, mean.shape), mean)
    terms = jnp.where(jnp.broadcast_to(mask, mean.shape), terms, jnp.zeros_like(terms))
    return jnp.mean(jnp.sum(terms, axis=(2, 3)), axis=0)


def kl_z0(encoding: Encoding, prior: DiagonalNormal, z0: Array | None = None) -> Array:
    """(batch,): in closed form, or log q - log p at `z0`, with the parameters of q stopped."""
    p = [jnp.broadcast_to(a, encoding.mean.shape) for a in (prior.mean, prior.scale)]
    if z0 is None:
        return jax.vmap(normal_kl)(encoding.mean, encoding.scale, *p)
    q = jax.lax.stop_gradient((encoding.mean, encoding.scale))
    log_prob = jax.vmap(jax.vmap(normal_log_prob), in_axes=(0, None, None))
    return jnp.mean(log_prob(z0, *q) - log_prob(z0, *p), axis=0)


def _kl_path(solution: Solution, xs: Array) -> Array:
    if solution.cost is None:
        return jnp.zeros(xs.shape[0], xs.dtype)
    return jnp.mean(solution.cost, axis=0)
