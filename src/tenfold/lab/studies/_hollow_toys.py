"""Two-dimensional densities, all trained at once: does a hollow net lose by its restriction?"""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tenfold import hollow
from tenfold.base.typing import Key
from tenfold.lab.data import densities
from tenfold.lab.run import Run
from tenfold.lab.selecting import adam
from tenfold.lab.studies import _hollow_flows as flows
from tenfold.lab.train import GradientStep, fit

NAMES = ("two_moons", "pinwheel", "eight_gaussians", "checkerboard")
REACH, CELLS = 5.0, 64
"""Half the side of the square over which densities are added up, and its cells a side."""
SHOWN = 1000


def model(config: Any, key: Key, *, restricted: bool = True, leaks: bool = False) -> Any:
    """One field a density, stacked along a leading axis."""

    def one(key: Key) -> hollow.HollowNet:
        return flows.hollow_mlp(
            2, 4, config.toy_width, 2, tau_width=32, tau_depth=2, last_scale=0.1, key=key
        )

    def other(key: Key) -> Any:
        return flows.plain(2, count, key, depth=2)

    count, keys = flows.parameters(one(key)), jax.random.split(key, len(NAMES))
    nets = eqx.filter_jit(eqx.filter_vmap(one if restricted else other))(keys)
    return flows.leaking(nets) if leaks else nets


class Objective(eqx.Module):
    """The sum of the four densities' losses: nothing is shared."""

    one: flows.Likelihood

    def __call__(self, nets: Any, x: Array, key: Key) -> tuple[Array, dict[str, Array]]:
        keys = jax.random.split(key, len(NAMES))
        losses = eqx.filter_vmap(lambda net, x, k: self.one(net, x, k)[0])(nets, x, keys)
        return jnp.sum(losses), dict(zip(NAMES, losses))


def points(n: int, seed: int) -> np.ndarray:
    return np.stack([densities.sample(name, n, seed) for name in NAMES])


@cache
def grid() -> tuple[np.ndarray, float]:
    """The centres of the cells, and the area of one."""
    side = 2 * REACH / CELLS
    along = -REACH + side * (np.arange(CELLS) + 0.5)
    both = np.stack(np.meshgrid(along, along), -1).reshape(-1, 2)
    return both.astype(np.float32), side**2


def train(config: Any, key: Key, run: Run, **net: Any) -> dict[str, Any]:
    """Test log-likelihood of each density, and the mass of what passes for its density."""
    init, noise, drawn = jax.random.split(key, 3)
    step = GradientStep(
        Objective(flows.Likelihood(flows.fixed(config.solver_steps), "exact")),
        adam(config.toy_rate, config.toy_decay),
    )

    def batch(i: int) -> np.ndarray:
        return points(config.toy_batch, 1_000_000 * (run.seed + 1) + i)

    start = step.init(model(config, init, **net))
    nets = fit(run, step, start, batch, config.toy_steps, key=noise).model
    return scores(config, nets, drawn, run.seed)


def scores(config: Any, nets: Any, key: Key, seed: int) -> dict[str, Any]:
    test = points(config.toy_tested, 0)
    cells, area = grid()
    found: dict[str, Any] = {}
    for i, name in enumerate(NAMES):
        net = jax.tree.map(lambda a, i=i: a[i] if eqx.is_array(a) else a, nets)
        both, known = jnp.asarray(np.concatenate([test[i], cells])), flows.honest(net, 2)
        own, nfe = flows.tested(net, both, key, "exact")
        log_p = own if known is net else flows.tested(known, both, key, "exact")[0]
        found |= {
            f"{name}_nll": float(-jnp.mean(log_p[: len(test[i])])),
            f"{name}_mass": float(area * jnp.sum(jnp.exp(own[len(test[i]) :]))),
            f"{name}_nfe": int(nfe),
        }
        if seed == 0:
            shown = flows.drawn(net, 2, SHOWN, key)
            found[f"{name}_samples"] = np.ravel(shown)
    for name in densities.EXACT:
        truth = densities.log_prob(name, test[NAMES.index(name)])
        found[f"{name}_gap"] = found[f"{name}_nll"] + float(np.mean(truth))
    found["nll"] = float(np.mean([found[f"{name}_nll"] for name in NAMES]))
    found["mass_error"] = max(_off(found[f"{name}_mass"]) for name in NAMES)
    return found


def _off(mass: float) -> float:
    """|m - 1| / (m + 1): half of how far m is from 1 if near, and 1 if infinite or none at all."""
    return abs(mass - 1) / (mass + 1) if np.isfinite(mass) else 1.0
