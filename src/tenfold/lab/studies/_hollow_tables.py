"""Flows of a table's columns: a hollow net beside an unrestricted one with Hutchinson's trace."""

from typing import Any

import jax
import jax.numpy as jnp

from tenfold.base.typing import Key
from tenfold.lab.data import breast_cancer, miniboone
from tenfold.lab.run import Run
from tenfold.lab.selecting import Selected, SelectingStep, adam
from tenfold.lab.studies import _hollow_flows as flows
from tenfold.lab.train import Minibatches, fit

ROOMS = {"breast_cancer": (breast_cancer, 30), "miniboone": (miniboone, 43)}
"""Data rooms and their numbers of columns."""


def model(config: Any, key: Key, *, restricted: bool = True, leaks: bool = False) -> Any:
    """A hollow net, or an unrestricted one of as many parameters."""
    _, size = ROOMS[config.table]
    net = flows.hollow_mlp(size, config.d_h, tau_width=config.tau_width, last_scale=0.1, key=key)
    if not restricted:
        return flows.plain(size, flows.parameters(net), key)
    return flows.leaking(net) if leaks else net


def train(config: Any, key: Key, run: Run, **net: Any) -> dict[str, Any]:
    """Test log-likelihood, by the exact trace, of the model of least validation loss.

    Hollow nets train with their exact trace, unrestricted ones with Hutchinson's, as FFJORD does.
    """
    init, noise, probes = jax.random.split(key, 3)
    room, _ = ROOMS[config.table]
    seen, held, test = (room.load(split).values for split in ("train", "val", "test"))
    trace = "exact" if net.get("restricted", True) else "hutchinson"
    solve = flows.fixed(config.solver_steps)
    step = SelectingStep(
        flows.Likelihood(solve, trace),
        adam(config.table_rate, config.table_decay),
        flows.Validation(solve, jnp.asarray(held)),
        config.every,
    )
    start = model(config, init, **net)
    batches = Minibatches(seen, config.table_batch, run.seed)
    state: Selected = fit(run, step, step.init(start), batches, config.table_steps, key=noise)
    known = flows.honest(state.model, seen.shape[1])
    log_p, nfe = flows.tested(known, jnp.asarray(test), probes, "exact")
    return {
        "test_nll": float(-jnp.mean(log_p)),
        "exact_nfe": int(nfe),
        "parameters": flows.parameters(start),
        "chosen_step": int(state.chosen),
    }
