"""Learning an SDE from snapshots: first the density's path, then coefficients that explain it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float

from tenfold.base._checks import as_float_tree
from tenfold.base.fit import fit
from tenfold.base.typing import Key, VectorField
from tenfold.hollow._fokker_planck import fokker_planck_residual
from tenfold.hollow._mixture import MixturePath


class Fitted(eqx.Module):
    """What `fit_sde` found."""

    drift: Any
    diffusion: Any
    losses: Float[Array, " steps"]
    """Before each step."""


def fit_path(
    path: MixturePath,
    times: Any,
    samples: Any,
    *,
    steps: int = 1000,
    batch: int = 256,
    optimiser: optax.GradientTransformation | None = None,
    key: Key,
) -> tuple[MixturePath, Float[Array, " steps"]]:
    """Maximum likelihood: `path` after minimising -mean log p(t_k, x) over snapshots.

    **Arguments:** `times`: (T,). `samples`: (T, n, d), n points at each of `times`; need not be
    paths. `batch`: points a step, drawn from all times. `optimiser`: by default Adam at 1e-2.

    **Returns:** the path, and the loss in nats before each step.

    **Raises:** ValueError unless there are as many snapshots as times, of one point at least, and
    all is finite.
    """
    samples = as_float_tree("samples", jnp.asarray(samples))
    times = jnp.asarray(times, samples.dtype)
    if times.ndim != 1 or samples.ndim != 3 or samples.shape[0] != times.shape[0]:
        raise ValueError(
            "fit_path: `times` must have shape (T,) and `samples` must have shape (T, n, d) with "
            f"T = {times.size} times, got {times.shape} and {samples.shape}"
        )
    if not samples.size:
        raise ValueError(f"fit_path: `samples` must hold a point at least, got {samples.shape}")
    _check_finite(times=times, samples=samples)
    _check_batch("fit_path", batch)

    def loss(path: MixturePath, key: Key) -> Array:
        which, who = jax.random.split(key)
        k = jax.random.randint(which, (batch,), 0, samples.shape[0])
        i = jax.random.randint(who, (batch,), 0, samples.shape[1])
        return -jnp.mean(jax.vmap(path)(times[k], samples[k, i]))

    return fit(loss, path, _adam(optimiser), steps, key=key)


def fit_sde(
    path: Any,
    drift: VectorField,
    diffusion: VectorField,
    t0: Any,
    t1: Any,
    *,
    fit_diffusion: bool = False,
    power: int = 2,
    steps: int = 1000,
    batch: int = 256,
    optimiser: optax.GradientTransformation | None = None,
    key: Key,
) -> Fitted:
    """Drift (and diffusion) whose Fokker-Planck equation `path` obeys best.

    Minimises the mean of |residual|^power, in log form, over t uniform in [t0, t1] and x ~ p(t).

    Marginals do not determine both coefficients: with g free, other pairs (f, g) have the same
    p(t, x). So g is held by default; compare simulated marginals, not coefficients, when it is not.

    **Arguments:**

    - `path`: `(t, x) -> log p` with `sample(key, t)`: a `MixturePath` (see `fit_path`), held fixed.
    - `drift`, `diffusion`: Modules to start from, see `fokker_planck_residual`. For hollow nets a
      step costs a few passes; for others d times that.
    - `power`: 1 or 2.
    - `optimiser`: by default Adam at 1e-2.

    **Raises:** ValueError for another power, an empty batch, or t1 before t0.

    Source: arXiv 1912.03579, section 5.
    """
    if power not in (1, 2):
        raise ValueError(f"fit_sde: `power` must be 1 or 2, got {power}")
    _check_batch("fit_sde", batch)
    if not isinstance(t0, Tracer) and not isinstance(t1, Tracer) and not t0 <= t1:
        raise ValueError(f"fit_sde: `t1` must not be before `t0`, got t0 = {t0} and t1 = {t1}")
    dynamic, static = eqx.partition(diffusion, eqx.is_inexact_array)

    def loss(model: tuple, key: Key) -> Array:
        f, g = model[0], eqx.combine(model[1] if fit_diffusion else dynamic, static)
        when, where = jax.random.split(key)
        times = jax.random.uniform(when, (batch,), minval=t0, maxval=t1)

        def residual(t: Array, key: Key) -> Array:
            x = path.sample(key, t)
            return fokker_planck_residual(path, f, g, t, x)

        found = jax.vmap(residual)(times, jax.random.split(where, batch))
        return jnp.mean(jnp.abs(found) if power == 1 else found**2)

    start = (drift, dynamic if fit_diffusion else None)
    (drift, found), losses = fit(loss, start, _adam(optimiser), steps, key=key)
    return Fitted(drift, eqx.combine(found if fit_diffusion else dynamic, static), losses)


def _adam(optimiser: optax.GradientTransformation | None) -> optax.GradientTransformation:
    return optax.adam(1e-2) if optimiser is None else optimiser


def _check_batch(who: str, batch: int) -> None:
    if batch < 1:
        raise ValueError(f"{who}: `batch` must be at least 1, got {batch}")


def _check_finite(**arrays: Array) -> None:
    for name, array in arrays.items():
        bad = 0 if isinstance(array, Tracer) else int(np.sum(~np.isfinite(array)))
        if bad:
            raise ValueError(f"fit_path: `{name}` must be finite, but {bad} of its numbers are not")
