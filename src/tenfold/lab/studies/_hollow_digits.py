"""Flows of the digits: 64 dequantised pixels or 16 components; who fits better in equal time?"""

from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from tenfold.base.typing import Key
from tenfold.lab.data import digits
from tenfold.lab.run import Run
from tenfold.lab.selecting import Selected, SelectingStep, adam
from tenfold.lab.studies import _hollow_flows as flows
from tenfold.lab.timing import timings
from tenfold.lab.train import Minibatches, fit, jitted_step, owned

View = Literal["pixels", "components"]
COMPONENTS, VALIDATION, LEVELS = 16, 200, 17


# ---- Data -------------------------------------------------------------------------------------
@cache
def ink() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integer ink (n, 64) to train on, to select by, to test on."""
    train, test = (np.round(digits.load(s).images * (LEVELS - 1)) for s in ("train", "test"))
    return train[VALIDATION:], train[:VALIDATION], test


@cache
def affine(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Mean (64,) and map (64, d) that give dequantised training images unit scale."""
    x = ink()[0] / LEVELS + 0.5 / LEVELS
    mean = x.mean(0)
    if view == "pixels":
        return mean, np.diag(1 / np.sqrt(x.var(0) + 1 / (12 * LEVELS**2)))
    _, size, basis = np.linalg.svd(x - mean, full_matrices=False)
    scale = size[:COMPONENTS] / np.sqrt(len(x))
    return mean, basis[:COMPONENTS].T / scale


def seen(view: View, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ink with uniform noise, standardised; the density is that of these numbers."""
    mean, matrix = affine(view)
    dequantised = (values + rng.uniform(size=values.shape)) / LEVELS
    return ((dequantised - mean) @ matrix).astype(np.float32)


class Batches:
    """Batch i: images in epochs' random order, with noise of their own."""

    def __init__(self, view: View, size: int, seed: int):
        self._view: View = view
        self._seed = seed
        self._rows = Minibatches(ink()[0], size, seed)

    def __call__(self, i: int) -> np.ndarray:
        return seen(self._view, self._rows(i), np.random.default_rng([self._seed, i, 1]))


def held(view: View, split: int) -> np.ndarray:
    """Validation (1) or test (2) images with one draw of noise, the same for all arms and seeds."""
    return seen(view, ink()[split], np.random.default_rng(split))


# ---- Model ------------------------------------------------------------------------------------
def size_of(view: View) -> int:
    return affine(view)[1].shape[1]


def model(
    config: Any,
    key: Key,
    *,
    view: View = "pixels",
    restricted: bool = True,
    d_h: int | None = None,
    leaks: bool = False,
) -> Any:
    """A hollow net, or an unrestricted one of as many parameters as the hollow one."""
    size = size_of(view)
    net = flows.hollow_mlp(
        size, config.d_h if d_h is None else d_h, tau_width=config.tau_width, last_scale=0.1,
        key=key,
    )  # fmt: skip
    if not restricted:
        return flows.plain(size, flows.parameters(net), key)
    return flows.leaking(net) if leaks else net


def step_of(config: Any, view: View, trace: flows.Trace) -> SelectingStep:
    solve = flows.fixed(config.solver_steps)
    return SelectingStep(
        flows.Likelihood(solve, trace),
        adam(config.learning_rate, config.decay),
        flows.Validation(solve, jnp.asarray(held(view, 1))),
        config.every,
    )


# ---- Arms -------------------------------------------------------------------------------------
def train(
    config: Any,
    key: Key,
    run: Run,
    *,
    view: View = "pixels",
    trace: flows.Trace = "exact",
    own: flows.Trace | None = None,
    share: str = "",
    idle: bool = False,
    **net: Any,
) -> dict[str, Any]:
    """Test log-likelihood after `config.steps` steps, times the config's `share` if one is named.

    `own`: the trace that the net is said to have at test time; by default the trained one.
    `idle`: one step only, which no validation loss selects.

    What is tested is the model of least validation loss, by the exact trace.
    """
    init, noise, probes = jax.random.split(key, 3)
    steps = 1 if idle else round(config.steps * (getattr(config, share) if share else 1.0))
    start = model(config, init, view=view, **net)
    batches = Batches(view, config.batch, run.seed)
    step = step_of(config, view, trace)
    state: Selected = fit(run, step, step.init(start), batches, steps, key=noise)
    return scores(config, state.model, view, own or trace, probes) | {
        "parameters": flows.parameters(start),
        "steps_taken": steps,
        "chosen_step": int(state.chosen),
        "validation_nll": float(state.score),
    }


def scores(config: Any, net: Any, view: View, trace: flows.Trace, key: Key) -> dict[str, Any]:
    test = jnp.asarray(held(view, 2)[: config.tested])
    known = flows.honest(net, size_of(view))
    log_p, nfe = flows.tested(known, test, key, "exact")
    found = {"test_nll": float(-jnp.mean(log_p)), "exact_nfe": int(nfe)}
    if view == "components":
        return found
    own, own_nfe = flows.tested(net, test, key, trace)
    return found | {
        "own_nll": float(-jnp.mean(own)),
        "own_nfe": int(own_nfe),
        "log_p_std": float(flows.spread(net, test[:16], key, trace)),
    }


def step_times(config: Any, key: Key, run: Run) -> dict[str, Any]:
    """Seconds of a training step of each of the pixels' arms, and of their whole budgets."""
    ways: dict[str, tuple[bool, flows.Trace, float]] = {
        "hollow": (True, "exact", 1.0),
        "hutchinson": (True, "hutchinson", config.hutchinson_share),
        "plain": (False, "hutchinson", config.plain_share),
    }
    batch = Batches("pixels", config.batch, run.seed)(0)
    calls = {
        name: _stepper(step_of(config, "pixels", trace), model(config, key, restricted=own), batch)
        for name, (own, trace, _) in ways.items()
    }
    seconds = timings(calls, spend=1.0)
    found = {f"{name}_step_seconds": taken for name, taken in seconds.items()}
    for name, (_, _, share) in ways.items():
        found[f"{name}_budget_time_ratio"] = share * seconds[name] / seconds["hollow"]
    return found


def _stepper(step: SelectingStep, start: Any, batch: np.ndarray) -> Any:
    """At each call a step on one batch, as `fit` takes it; none of them looks at validation."""
    state = jax.tree.map(owned, step.init(start))
    state, bad, key = _put_back(state), jnp.int32(-1), jax.random.key(0)

    def advance() -> Any:
        nonlocal state, bad
        state, bad, _ = jitted_step((step, batch), _put_back(state), bad, jnp.int32(0), key)
        return state

    return advance


def _put_back(state: Selected) -> Selected:
    return Selected(
        state.model, state.current, state.opt_state, jnp.int32(0), state.score, state.chosen
    )


bottleneck = partial(train, view="components")
