"""A variational autoencoder whose posterior is a Gaussian moved by a flow."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from tenfold.base import bernoulli_log_prob, logmeanexp, normal_log_prob
from tenfold.base.typing import Key, Scalar
from tenfold.hollow._conditioner import check_sizes
from tenfold.nets import DenseMLP

Likelihood = Callable[[Any, Any], Any]
"""`(x, decoded) -> log p(x | z)`, shape ()."""


class FlowVAE(eqx.Module):
    r"""q(z | x): z = flow(z0; c(x)) with z0 ~ N(m(x), s(x)^2), under a prior N(0, I).

    $$\mathrm{ELBO} = \mathrm{E}[\log p(x|z) + \log N(z; 0, I)
      - \log N(z_0; m, s^2) + \log|\det dz/dz_0|]$$

    **Arguments:**

    - `encoder`: x -> (2 d + context), that is m, log s and what the flow is told.
    - `decoder`: z -> the likelihood's parameters.
    - `flow`: `(z0, context, key) -> (z, log_det)`, from `tenfold.hollow.baselines`: `Identity()`,
      `planar`, `iaf`, `sylvester`, `Continuous(hollow_mlp(..., context=...))`.
    - `size`: d.
    - `likelihood`: `(x, decoded) -> log p`; Bernoulli logits by default.
    """

    encoder: Callable
    decoder: Callable
    flow: Callable
    size: int = eqx.field(static=True)
    likelihood: Likelihood = eqx.field(static=True, default=bernoulli_log_prob)

    def log_weight(self, x: Float[Array, " D"], key: Key) -> Scalar:
        """log p(x, z)/q(z | x) at one z ~ q; its mean is the ELBO.

        The flow may draw from `key` too: with a Hutchinson trace the mean is still the ELBO's.
        """
        noise, inside = jax.random.split(key)
        out, d = self.encoder(x), self.size
        mean, scale, context = out[:d], jnp.exp(out[d : 2 * d]), out[2 * d :]
        z0 = mean + scale * jax.random.normal(noise, (d,), mean.dtype)
        z, log_det = self.flow(z0, context, inside)
        log_q = normal_log_prob(z0, mean, scale) - log_det
        return self.likelihood(x, self.decoder(z)) + normal_log_prob(z, 0.0, 1.0) - log_q

    def elbo(self, x: Float[Array, " D"], key: Key, samples: int = 1) -> Scalar:
        """The mean of `samples` log-weights, in nats."""
        return jnp.mean(self._weights(x, key, samples))

    def log_marginal(self, x: Float[Array, " D"], key: Key, samples: int = 100) -> Scalar:
        """log of the mean weight: below log p(x) in the mean, and nearer to it with more samples.

        Not with a Hutchinson trace, whose noise in the weights does not average out in a logarithm.
        """
        return logmeanexp(self._weights(x, key, samples))

    def _weights(self, x: Array, key: Key, samples: int) -> Array:
        return jax.vmap(lambda k: self.log_weight(x, k))(jax.random.split(key, samples))


def flow_vae(
    data: int,
    size: int,
    flow: Callable,
    *,
    context: int = 16,
    width: int = 64,
    depth: int = 1,
    dtype: DTypeLike | None = None,
    key: Key,
) -> FlowVAE:
    """A `FlowVAE` with MLPs for x of `data` entries in [0, 1] and z of `size`.

    The same encoder for every flow, `context` included: what differs is the flow alone.
    """
    check_sizes("flow_vae", data=data, size=size, context=context, width=width)
    inner, outer = jax.random.split(key)
    kind: dict[str, Any] = {"activation": jnp.tanh, "dtype": dtype}
    encoder = DenseMLP(data, 2 * size + context, width, depth, key=inner, **kind)
    decoder = DenseMLP(size, data, width, depth, key=outer, **kind)
    return FlowVAE(encoder, decoder, flow, size)
