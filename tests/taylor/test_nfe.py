"""`count_nfe` equals the number of times that the host was called."""

from functools import partial

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold.taylor import CountStart, EvalCounter, count_nfe

SOLVERS = [dfx.Euler(), dfx.Heun(), dfx.Bosh3(), dfx.Tsit5(), dfx.Dopri5(), dfx.Dopri8()]
FIXED = {"Euler": 10, "Heun": 20, "Bosh3": 31, "Tsit5": 61, "Dopri5": 61, "Dopri8": 131}


def stiff(t, z, args):
    """Fast, then slow: a solver rejects steps along the way."""
    return -30 * (z - jnp.cos(3 * t)) / (1 + 20 * t)


def counted(solver, z, dt0, controller, *, start=False):
    counter = EvalCounter(stiff)
    controller = CountStart(controller) if start else controller
    solution = dfx.diffeqsolve(
        dfx.ODETerm(counter), solver, 0.0, 1.0, dt0, z, stepsize_controller=controller,
        saveat=dfx.SaveAt(t1=True, controller_state=start), max_steps=10_000, throw=False,
    )  # fmt: skip
    jax.block_until_ready(solution.ys)
    return counter, solution


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_ten_constant_steps_cost_what_the_tableau_says(solver):
    counter, solution = counted(solver, jnp.ones(2), 0.1, dfx.ConstantStepSize())
    assert int(count_nfe(solution, solver)) == counter.count() == FIXED[type(solver).__name__]


@pytest.mark.parametrize("dt0", [1e-3, 5.0], ids=["small first step", "first step far too large"])
@pytest.mark.parametrize("solver", SOLVERS[1:], ids=lambda s: type(s).__name__)
def test_an_adaptive_solve_costs_what_the_host_counted(solver, dt0, x64):
    """Steps rejected anywhere are in the count, also those before the first accepted one."""
    controller = dfx.PIDController(rtol=1e-6, atol=1e-6)
    counter, solution = counted(solver, jnp.ones(2), dt0, controller, start=True)
    assert int(solution.stats["num_rejected_steps"]) > 0 or dt0 < 1
    assert int(count_nfe(solution, solver)) == counter.count()


@pytest.mark.parametrize("solver", [dfx.Bosh3(), dfx.Dopri5()], ids=lambda s: type(s).__name__)
def test_a_batch_that_shares_its_steps_is_counted_once(solver, x64):
    """One count for the batch."""
    z = jnp.array([[1.0], [2.0], [40.0]])
    controller = dfx.PIDController(rtol=1e-6, atol=1e-6)
    counter, joint = counted(solver, z, 1e-3, controller, start=True)
    assert int(count_nfe(joint, solver)) == counter.count()


def test_a_vmapped_solve_is_counted_per_example(x64):
    """One count each, as many as alone, by the host's count of one example at a time."""
    z, solver, counter = jnp.array([[1.0], [40.0]]), dfx.Bosh3(), EvalCounter(stiff)

    @partial(jax.jit, static_argnums=0)
    def evaluations(field, row):
        solution = dfx.diffeqsolve(
            dfx.ODETerm(field), solver, 0.0, 1.0, 1e-3, row, max_steps=10_000,
            stepsize_controller=CountStart(dfx.PIDController(rtol=1e-6, atol=1e-6)),
            saveat=dfx.SaveAt(t1=True, controller_state=True), throw=False,
        )  # fmt: skip
        return count_nfe(solution, solver)

    alone = []
    for row in z:
        counter.reset()
        jax.block_until_ready(evaluations(counter, row))
        alone.append(counter.count())
    np.testing.assert_array_equal(jax.vmap(partial(evaluations, stiff))(z), alone)
    assert len(set(alone)) > 1, "these examples should differ in what they need"


def test_saving_costs_nothing():
    """More of SaveAt, no more evaluations."""
    solver, counter = dfx.Tsit5(), EvalCounter(stiff)
    solution = dfx.diffeqsolve(
        dfx.ODETerm(counter), solver, 0.0, 1.0, 0.1, jnp.ones(1),
        saveat=dfx.SaveAt(t0=True, ts=jnp.linspace(0.0, 1.0, 33)), throw=False,
    )  # fmt: skip
    jax.block_until_ready(solution.ys)
    assert int(count_nfe(solution, solver)) == counter.count() == 61


def test_the_counter_can_be_set_back():
    counter = EvalCounter(stiff)
    counter(jnp.float32(0), jnp.ones(1), None)
    assert counter.count() == 1
    counter.reset()
    assert counter.count() == 0


def test_an_implicit_solver_is_refused():
    _, solution = counted(dfx.Euler(), jnp.ones(1), 0.1, dfx.ConstantStepSize())
    with pytest.raises(ValueError, match="EvalCounter"):
        count_nfe(solution, dfx.Kvaerno5())
