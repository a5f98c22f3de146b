"""The toy of figure 1: a one-dimensional flow that maps z to z + z^3."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from tenfold import taylor
from tenfold.base import vmapped
from tenfold.lab.run import Run
from tenfold.lab.studies._taylor_count import double
from tenfold.lab.studies._taylor_optimiser import optimiser
from tenfold.lab.train import GradientStep, fit
from tenfold.nets import TimeMLP

WEIGHT = 1e-3
GAIN = 3.0
SOLVER_STEPS = 8
STARTS = np.linspace(-1, 1, 9)
TIMES = np.linspace(0, 1, 41)


class Flow(eqx.Module):
    field: TimeMLP


def model(config: Any, key: Array) -> Flow:
    """A field that starts out wavy: weights `GAIN` times the usual, as nothing else needs speed."""
    del config
    field = TimeMLP(1, 32, 2, activate_input=False, dtype=jnp.float32, key=key)
    return Flow(jax.tree.map(lambda x: GAIN * x if eqx.is_inexact_array(x) else x, field))


class Objective(eqx.Module):
    weight: Float[Array, ""]
    order: int = eqx.field(static=True)

    def __call__(self, net: Flow, batch: Array, key: Array):
        regs = {"R": taylor.SpeedReg(self.order, self.weight, "step")} if self.order else {}
        solution, integrals = taylor.solve_regularised(
            dfx.ODETerm(vmapped(net.field)), dfx.Bosh3(), 0.0, 1.0, 1 / SOLVER_STEPS, batch, regs,
            max_steps=SOLVER_STEPS,
        )  # fmt: skip
        end: Any = solution.ys
        error = jnp.mean((end[-1] - batch - batch**3) ** 2)
        return error + taylor.penalty(regs, integrals), {"error": error}


@eqx.filter_jit
def paths(field: TimeMLP, starts: Any, times: Any):
    """Each start's trajectory on `times`, and Dopri5's evaluations at 1e-8."""

    def one(start: Array):
        solver = dfx.Dopri5()
        solution = dfx.diffeqsolve(
            dfx.ODETerm(field), solver, 0.0, 1.0, 0.05, start, saveat=dfx.SaveAt(ts=times),
            stepsize_controller=dfx.PIDController(rtol=1e-8, atol=1e-8), max_steps=None,
            throw=False,
        )  # fmt: skip
        path: Any = solution.ys
        return path[:, 0], taylor.count_nfe(solution, solver)

    return jax.vmap(one)(starts[:, None])


def fit_map(config: Any, key: Array, run: Run, *, order: int, factor: float = 1.0):
    """Evaluations, root mean square error and paths of a learnt flow, from all `STARTS`."""
    init, train, drawn = jax.random.split(key, 3)
    points = jax.random.uniform(drawn, (config.toy_steps, 64, 1), jnp.float32, -1, 1)
    step = GradientStep(
        Objective(jnp.float32(factor * WEIGHT), order), optimiser("adam", 1e-2, config.toy_steps)
    )
    net = fit(run, step, step.init(model(config, init)), lambda i: points[i], config.toy_steps,
              key=train).model  # fmt: skip
    with jax.enable_x64(True):
        curves, counts = paths(double(net.field), STARTS, TIMES)
    curves, counts = np.asarray(curves), np.asarray(counts)
    error = np.sqrt(np.mean((curves[:, -1] - STARTS - STARTS**3) ** 2))
    return {"nfe": float(np.mean(counts)), "error": float(error), "paths": np.ravel(curves)}
