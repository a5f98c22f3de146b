"""Sample paths of a latent SDE beyond what was seen, with bands."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tenfold.base.typing import Key
from tenfold.sde._elbo import encoded, posterior_paths, start
from tenfold.sde._latent import Encoding, LatentSDE
from tenfold.sde._methods import AbstractMethod
from tenfold.sde._solve import sdesolve


class Forecast(eqx.Module):
    """Sample paths at all times: those of the context first, then those beyond."""

    ts: Float[Array, " T"]
    zs: Float[Array, "samples batch T d"]
    means: Float[Array, "samples batch T D"]
    """The decoded paths: the series without the noise of observing it."""
    draws: Float[Array, "samples batch T D"]
    """With that noise: what would be seen."""

    @property
    def mean(self) -> Float[Array, "batch T D"]:
        return jnp.mean(self.means, axis=0)

    def band(self, level: float = 0.9) -> tuple[Array, Array]:
        """The central interval that holds a share `level` of the draws: low and high, (batch, T,
        D).

        **Raises:** `ValueError` unless 0 < level < 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"Forecast.band: 0 < level < 1 is needed, got {level}")
        ends = jnp.asarray([(1 - level) / 2, (1 + level) / 2], self.draws.dtype)
        low, high = jnp.quantile(self.draws, ends, axis=0)
        return low, high


def forecast(
    model: LatentSDE,
    x_context: Array,
    ts: Array,
    key: Key,
    *,
    samples: int = 50,
    mask: Array | None = None,
    beyond: str = "prior",
    substeps: int = 1,
    method: AbstractMethod | None = None,
) -> Forecast:
    """What may follow `x_context` (batch, k, D), which was seen at the first k of `ts` (T,).

    **Arguments:**

    - `ts`: the k times of the context, then those to forecast.
    - `samples`: paths an example. `mask`: True where there is a value.
    - `beyond`: which drift goes on after the context. `prior`: the right one in general, as the
      encoder has nothing to say of later times. `posterior`: for encoders that say one thing for
      all times (`FramesEncoder`). A latent ODE always takes its posterior: it trains no prior.
    - `substeps`, `method`: as in `sdesolve`.

    **Raises:** `ValueError` for shapes that don't fit, or a posterior that can't go on.
    """
    if samples < 1:
        raise ValueError(f"forecast: `samples` must be at least 1, got {samples}")
    k = x_context.shape[1]
    if ts.ndim != 1 or k > ts.shape[0] or k < 2:
        raise ValueError(
            f"forecast: 2 <= k <= T is needed, k frames of context at the first of T times; got "
            f"{x_context.shape} and ts {ts.shape}"
        )
    encoding, _ = encoded(model, x_context, ts[:k], mask)
    at_start, within, after, seen = jax.random.split(key, 4)
    z0 = start(encoding, samples, at_start)
    how: dict[str, Any] = {"substeps": substeps, "method": method}
    if _goes_on(model, encoding, beyond):
        zs = posterior_paths(model, encoding, z0, ts, within, **how).zs
    else:
        zs = posterior_paths(model, encoding, z0, ts[:k], within, **how).zs
        if k < ts.shape[0]:
            sde = model.prior_sde()
            later = sdesolve(sde, zs[-1], ts[k - 1 :], after, **how).zs
            zs = jnp.concatenate([zs, later[1:]])
    zs = jnp.moveaxis(zs, 0, 2)
    means = model.decoder(zs)
    return Forecast(ts, zs, means, model.observation.draw(means, seen))


def _goes_on(model: LatentSDE, encoding: Encoding, beyond: Any) -> bool:
    """Whether the posterior's drift serves all times."""
    if beyond not in ("prior", "posterior"):
        raise ValueError(f"forecast: `beyond` must be prior or posterior, got {beyond!r}")
    if beyond == "prior" and model.diffusion is not None:
        return False
    if encoding.context is not None:
        raise ValueError(
            "forecast: the posterior's drift can't go on beyond the context, as the encoder gives "
            "it a context by interval; use beyond='prior', and a model with a diffusion"
        )
    return True
