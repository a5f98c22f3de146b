"""SDEs from snapshots by Fokker-Planck: are the simulated marginals the true ones?"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from tenfold import hollow, sde
from tenfold.base import fit, vmapped
from tenfold.base.typing import Key
from tenfold.lab.metrics import energy_distance
from tenfold.lab.run import Run
from tenfold.lab.studies import _hollow_flows as flows

SNAPSHOTS, KNOTS, FINE, CHECKED = 20, 6, 20, (4, 9, 14, 19)
"""Times of the data, knots of the fitted density, steps of a simulation between two times, and the
places of the times at which marginals are compared."""
SIZES, NULLS, REPEATS, POOL = 400, 100, 10, 8000
"""Points of a compared set; pairs of true sets for the sampling error; simulated sets; true points
from which sets are taken."""
TIMES = np.linspace(0, 1, SNAPSHOTS + 1).astype(np.float32)[1:]


class Constant(eqx.Module):
    """g, the same everywhere."""

    value: float = eqx.field(static=True)

    def __call__(self, t: Any, x: Array, args: Any = None) -> Array:
        del t, args
        return jnp.full_like(x, self.value)


def turning(t: Any, x: Array, args: Any = None) -> Array:
    """An Ornstein-Uhlenbeck process that spirals inwards."""
    del t, args
    return -x + 2 * jnp.stack([-x[1], x[0]])


def double_well(t: Any, x: Array, args: Any = None) -> Array:
    """-grad U with U = (x1^2 - 1)^2 + (x2 - x1 / 2)^2."""
    del t, args
    apart = x[1] - x[0] / 2
    return jnp.stack([-4 * x[0] * (x[0] ** 2 - 1) + apart, -2 * apart])


PROBLEMS: dict[str, tuple[Callable, float, tuple[float, float], float, int]] = {
    "ou": (turning, 0.6, (2.0, 0.0), 0.2, 1),
    "well": (double_well, 0.7, (0.0, 0.0), 0.3, 4),
}
"""Drift, g, mean and deviation of the start, components of the fitted density."""


@eqx.filter_jit
def paths(drift: Any, g: float, mean: Any, deviation: float, n: int, key: Key) -> Array:
    """n paths at `TIMES`: (times, n, 2)."""
    first, second = jax.random.split(key)
    z0 = jnp.asarray(mean, jnp.float32)[None] + deviation * jax.random.normal(first, (n, 2))
    equation = sde.SDE(vmapped(drift), Constant(g), noise="diagonal", kind="ito")
    ts = jnp.concatenate([jnp.zeros(1, jnp.float32), jnp.asarray(TIMES)])
    method = sde.EulerMaruyama()
    return sde.sdesolve(equation, z0, ts, second, method=method, substeps=FINE).zs[1:]


# ---- Fits -------------------------------------------------------------------------------------
def first_path(samples: np.ndarray, components: int, rng: np.random.Generator) -> Any:
    """A mixture whose parameters are interpolated between knots, begun at the data's moments."""
    knots = np.linspace(0, 1, KNOTS)
    near = [int(np.argmin(np.abs(TIMES - t))) for t in knots]
    mean, deviation = samples[near].mean(1)[:, None], samples[near].std(1)[:, None]
    apart = rng.standard_normal((1, components, 2)) if components > 1 else np.zeros((1, 1, 2))
    shape = (KNOTS, components, 2)
    values = (
        knots,
        np.zeros((KNOTS, components)),
        np.broadcast_to(mean + 0.5 * deviation * apart, shape),
        np.broadcast_to(np.log(deviation), shape),
    )
    return hollow.MixturePath(hollow.KnotMixture(*(jnp.asarray(v, jnp.float32) for v in values)))


def first_drift(config: Any, key: Key) -> hollow.HollowNet:
    return flows.hollow_mlp(2, 8, config.sde_width, tau_width=config.sde_width, key=key)


@eqx.filter_jit
def by_fokker_planck(
    config: Any, start: Any, path: Any, g: float, samples: Array, key: Key
) -> tuple[Any, Any]:
    """The drift from snapshots: which point went where is not used."""
    first, second = jax.random.split(key)
    times = jnp.asarray(TIMES)
    path, _ = hollow.fit_path(
        path, times, samples, steps=config.path_steps, optimiser=adam(1e-2, config.path_steps),
        key=first,
    )  # fmt: skip
    found = hollow.fit_sde(
        path, start, Constant(g), TIMES[0], TIMES[-1],
        steps=config.sde_steps, optimiser=adam(1e-2, config.sde_steps), key=second,
    )  # fmt: skip
    return found.drift, path


@eqx.filter_jit
def by_transitions(config: Any, start: Any, g: float, walks: Array, key: Key) -> Any:
    """The drift from whole paths: the likelihood of Euler's transitions between two times."""
    step = 1 / SNAPSHOTS

    def loss(drift: Any, key: Key) -> Array:
        which, who = jax.random.split(key)
        k = jax.random.randint(which, (256,), 0, SNAPSHOTS - 1)
        i = jax.random.randint(who, (256,), 0, walks.shape[1])
        x, later = walks[k, i], walks[k + 1, i]
        slope = jax.vmap(lambda t, x: drift(t, x, None))(jnp.asarray(TIMES)[k], x)
        return jnp.mean(jnp.sum((later - x - step * slope) ** 2, -1)) / (2 * g**2 * step)

    return fit(loss, start, adam(1e-2, config.sde_steps), config.sde_steps, key=key)[0]


def adam(rate: float, steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


# ---- Arms -------------------------------------------------------------------------------------
def measure(
    config: Any,
    key: Key,
    run: Run,
    *,
    problem: str,
    whole: bool = False,
    trained: bool = True,
    leaks: bool = False,
) -> dict[str, Any]:
    """Energy distance of simulated marginals from the true ones, beside the sampling error.

    The first is the mean over `REPEATS` simulated sets; the second is the 95 % quantile of that of
    two true sets. Both are means over the times that are compared.
    """
    drift, g, mean, deviation, components = PROBLEMS[problem]
    keys = jax.random.split(key, 5)
    true = partial(paths, drift, g, mean, deviation)
    walks = true(config.sde_points, keys[0])
    start = first_drift(config, keys[1])
    start = flows.leaking(start) if leaks else start
    rng = np.random.default_rng(run.seed)
    if not trained:
        fitted = start
    elif whole:
        fitted = by_transitions(config, start, g, walks, keys[2])
    else:
        # Shuffled, so that no path is left in the data.
        samples = np.stack([rng.permutation(snapshot) for snapshot in np.asarray(walks)])
        path = first_path(samples, components, rng)
        fitted, _ = by_fokker_planck(config, start, path, g, jnp.asarray(samples), keys[2])
    simulated = paths(fitted, g, mean, deviation, REPEATS * SIZES, keys[3])
    truth = np.asarray(true(POOL, keys[4]))
    return compared(np.asarray(simulated), truth, rng) | shown(simulated, truth, run.seed)


def compared(simulated: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    nulls = [_distance(*_two_sets(truth, rng)) for _ in range(NULLS)]
    sets = np.split(simulated, REPEATS, axis=1)
    found = [_distance(each, _two_sets(truth, rng)[0]) for each in sets]
    error = float(np.quantile(nulls, 0.95))
    return {
        "distance": float(np.mean(found)),
        "sampling_error": error,
        "distance_over_error": float(np.mean(found)) / error,
    }


def _two_sets(truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows = rng.permutation(truth.shape[1])[: 2 * SIZES]
    return truth[:, rows[:SIZES]], truth[:, rows[SIZES:]]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([energy_distance(a[k], b[k]) for k in CHECKED]))


def shown(simulated: Any, truth: np.ndarray, seed: int) -> dict[str, Any]:
    """Points for the figure, at the first and last compared time."""
    if seed:
        return {}
    both = {"simulated": np.asarray(simulated), "true": truth}
    return {
        f"{name}_{k}": np.ravel(values[k, :SIZES])
        for name, values in both.items()
        for k in (CHECKED[0], CHECKED[-1])
    }
