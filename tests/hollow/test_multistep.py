"""Orders, stability, errors and counts of the multistep solvers on equations with solutions."""

import subprocess
import sys

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from helpers import assert_close, finite_difference
from tenfold.base import EvalCounter, count_nfe, counted
from tenfold.hollow import ABM, BDF, Functional, JacobiNewton, JacobiOnly, NewtonKrylov

SHARP = JacobiNewton(1e-12, 1e-13)
SOLVERS = {
    **{f"abm{order}": (lambda order=order: ABM(order, SHARP), order) for order in (1, 2, 3, 4)},
    **{f"bdf{order}": (lambda order=order: BDF(order, SHARP), order) for order in (1, 2)},
}
EVERY = pytest.mark.parametrize("name", SOLVERS)


def forced(t, y, args):
    """z' = -z + sin t; z = (z0 + 1/2) e^-t + (sin t - cos t)/2."""
    return -y + jnp.sin(t)


def exact(t, z0=1.0):
    return (z0 + 0.5) * np.exp(-t) + (np.sin(t) - np.cos(t)) / 2


def solve(solver, f, t1, y0, *, t0=0.0, dt0=None, args=None, saveat=None, **kwargs):
    return dfx.diffeqsolve(
        dfx.ODETerm(f),
        solver,
        t0,
        t1,
        dt0,
        y0,
        args,
        saveat=dfx.SaveAt(t1=True, solver_state=True) if saveat is None else saveat,
        throw=False,
        **kwargs,
    )


def slope(errors):
    """Fitted to the errors at steps halved from one to the next."""
    return -np.polyfit(np.arange(len(errors)), np.log2(errors), 1)[0]


@EVERY
def test_the_order_of_convergence_on_even_steps_and_no_less_on_uneven_ones(name, x64):
    """Steps that alternate 1 : 2 do as well as even ones that are all longer than the longest."""
    solver, order = SOLVERS[name][0](), SOLVERS[name][1]

    @jax.jit
    def even(h):
        return solve(solver, forced, 2.0, jnp.ones(1), dt0=h, max_steps=256).ys[-1, 0]

    errors = [abs(even(2.0 / n) - exact(2.0)) for n in (48, 96, 192)]
    assert abs(slope(errors) - order) < 0.2
    if name in ("abm1", "bdf1"):
        return  # its coefficients do not depend on the past
    grid = jnp.asarray(2 * np.cumsum([0, *np.tile([1, 2], 48)]) / 144)
    steps = {"stepsize_controller": dfx.StepTo(grid), "max_steps": 100}
    uneven = jax.jit(lambda: solve(solver, forced, 2.0, jnp.ones(1), **steps).ys[-1, 0])()
    assert abs(uneven - exact(2.0)) < errors[0]


@pytest.mark.parametrize("name", ["abm1", "abm2", "abm3", "abm4", "bdf1", "bdf2"])
def test_the_error_follows_the_tolerance(name, x64):
    solver = SOLVERS[name][0]()

    @jax.jit
    def run(tolerance):
        controller = dfx.PIDController(rtol=tolerance, atol=tolerance)
        found = solve(
            solver, forced, 2.0, jnp.ones(1), stepsize_controller=controller, max_steps=5000
        )
        return found.ys[-1, 0], found.stats["num_steps"], found.result

    errors = []
    for tolerance in (1e-3, 1e-5):
        value, steps, result = run(tolerance)
        assert result == dfx.RESULTS.successful
        errors.append(abs(value - exact(2.0)) / tolerance)
        assert steps < (4000 if name[-1] == "1" else 300)
    assert max(errors) < 60


def stiff(t, y, rate):
    """y' = M (y - cos t) - sin t, with weakly coupled rates up to `rate`; y = cos t from 1."""
    coupling = 0.01 * (jnp.ones((4, 4), y.dtype) - jnp.eye(4, dtype=y.dtype))
    matrix = rate * (coupling - jnp.diag(jnp.array([1.0, 0.5, 0.1, 0.05], y.dtype)))
    return matrix @ (y - jnp.cos(t)) - jnp.sin(t)


@pytest.mark.parametrize("corrector", [JacobiNewton(1e-8, 1e-10), NewtonKrylov(1e-8, 1e-10)])
def test_bdf_takes_stiff_problems_in_few_steps(corrector, x64):
    @jax.jit
    def run(rate):
        found = solve(
            BDF(2, corrector), stiff, 2.0, jnp.zeros(4), args=rate, max_steps=2000,
            stepsize_controller=dfx.PIDController(rtol=1e-4, atol=1e-6),
        )  # fmt: skip
        return found.ys[-1], found.stats["num_steps"], found.result

    for rate in (1e2, 1e4):
        y, steps, result = run(rate)
        assert result == dfx.RESULTS.successful
        assert steps < 300
        if rate == 1e4:  # the start is forgotten
            assert_close(y, jnp.full(4, jnp.cos(2.0)), 1e-3)


def test_explicit_steps_and_functional_iteration_are_bound_by_stability(x64):
    """On the same problem, in 300 steps, neither Dopri5 nor functional iteration gets there."""
    control = {"stepsize_controller": dfx.PIDController(rtol=1e-4, atol=1e-6), "max_steps": 300}
    for solver in (dfx.Dopri5(), BDF(2, Functional(1e-8, 1e-10))):
        run = solve(solver, stiff, 2.0, jnp.zeros(4), args=1e4, **control)
        assert run.result == dfx.RESULTS.max_steps_reached


@pytest.mark.parametrize(
    ("name", "stable", "unstable"),
    [("abm4", 2.5, 4.0), ("abm3", 5.5, 7.0), ("abm2", 1e4, None), ("bdf2", 1e4, None)],
)
def test_stability_on_the_real_axis(name, stable, unstable, x64):
    """z' = -a z with steps of 1: AM4 to a = 3, AM3 to 6; AM2 and BDF without bound."""
    solver = SOLVERS[name][0]()

    @jax.jit
    def run(rate):
        f = lambda t, y, args: -args * y  # noqa: E731
        return jnp.abs(solve(solver, f, 60.0, jnp.ones(1), dt0=1.0, args=rate, max_steps=64).ys[-1])

    assert run(stable) <= 1 + 1e-9
    if unstable is not None:
        assert run(unstable) > 10


@pytest.mark.parametrize("solver", [ABM(4, Functional(1e-9, 1e-10)), BDF(2, JacobiOnly())])
@pytest.mark.parametrize("dt0", [0.1, 2.0])
def test_evaluations_are_counted_in_rejected_steps_too(solver, dt0, x64):
    """The host's count; the diagonal is given, so that none is by JVPs."""
    counter = EvalCounter(lambda t, y, args: -20 * (y - jnp.cos(10 * t)) ** 3)

    class Told:
        def __call__(self, t, y, args):
            return counter(t, y, args)

        def value_and_jacobian_diagonal(self, t, y, args):
            return counter(t, y, args), -60 * (y - jnp.cos(10 * t)) ** 2

    plain = dfx.PIDController(rtol=1e-4, atol=1e-6)
    own, controller = counted(solver, plain)
    saveat = dfx.SaveAt(t1=True, solver_state=True, controller_state=True)
    options = {"dt0": dt0, "max_steps": 512, "saveat": saveat}
    run = jax.jit(lambda y: solve(own, Told(), 2.0, y, stepsize_controller=controller, **options))(
        jnp.ones(1)
    )
    assert run.result == dfx.RESULTS.successful
    assert int(run.stats["num_rejected_steps"]) > 3
    assert int(count_nfe(run, own)) == counter.count()
    if dt0 == 2.0:
        return
    bare = jax.jit(lambda y: solve(solver, Told(), 2.0, y, stepsize_controller=plain, **options))(
        jnp.ones(1)
    )
    assert_close(bare.ys, run.ys)
    assert int(count_nfe(bare, solver)) == -1  # it cannot know
    counter.reset()
    even = jax.jit(lambda y: solve(solver, Told(), 2.0, y, dt0=0.002, max_steps=1024))(jnp.ones(1))
    assert int(count_nfe(even, solver)) == counter.count()


class Knowing(eqx.Module):
    """A field that knows its diagonal, and refuses to be asked for its value alone."""

    rates: jax.Array

    def __call__(self, t, y, args):
        return -self.rates * y

    def value_and_jacobian_diagonal(self, t, y, args):
        return -self.rates * y, -2 * self.rates


def test_the_fields_own_diagonal_is_used_unasked(x64):
    """A diagonal that is wrong on purpose slows Jacobi down: so it was the one used."""
    rates = jnp.array([1.0, 50.0])
    used = {}
    for name, f in {"own": Knowing(rates), "jvps": lambda t, y, a: -rates * y}.items():
        solver = BDF(1, JacobiNewton(1e-4, 1e-6))
        used[name] = int(count_nfe(solve(solver, f, 1.0, jnp.ones(2), dt0=0.1), solver))
    assert used["jvps"] <= 2 * 10 + 1
    assert used["own"] > 1.5 * used["jvps"]


@pytest.mark.parametrize("name", ["abm4", "bdf2"])
def test_dense_output_and_backward_time(name, x64):
    solver = SOLVERS[name][0]()
    run = jax.jit(
        lambda: solve(
            solver,
            forced,
            0.0,
            jnp.full(1, exact(2.0)),
            t0=2.0,
            dt0=-0.02,
            max_steps=256,
            saveat=dfx.SaveAt(dense=True),
        )
    )()
    ts = np.linspace(0.05, 1.95, 23)
    found = np.asarray(jax.vmap(run.evaluate)(jnp.asarray(ts)))[:, 0]
    np.testing.assert_allclose(found, exact(ts), atol=1e-6 if name == "abm4" else 2e-3)


def test_a_jump_begins_the_history_anew(x64):
    """z' = 0 before t = 1 and 1 after: exact across the jump only if the past is forgotten."""

    def kinked(t, y, args):
        return jnp.where(t > 1, 1.0, 0.0) + 0 * y

    inner = dfx.PIDController(rtol=1e-6, atol=1e-6)
    controller = dfx.ClipStepSizeController(inner, jump_ts=jnp.array([1.0]))
    run = solve(
        BDF(2, SHARP), kinked, 2.0, jnp.zeros(1), dt0=0.3, stepsize_controller=controller,
        max_steps=256,
    )  # fmt: skip
    assert_close(run.ys[-1], jnp.ones(1), 1e-6)


def test_gradients_match_finite_differences(x64):
    """Of the start and of what the field closes over, through the implicit equations."""
    start = (jnp.array([0.5, -1.0]), jnp.asarray(3.0))

    @jax.jit
    def loss(given):
        y0, rate = given
        turned = lambda t, y, args: jnp.sin(y[::-1]) - rate * y + t  # noqa: E731
        return jnp.sum(solve(ABM(2, SHARP), turned, 0.8, y0, dt0=0.2, max_steps=4).ys[-1] ** 2)

    v = (jnp.array([0.3, 0.7]), jnp.asarray(-0.4))
    slopes = jax.jit(jax.grad(loss))(start)
    along = sum(jnp.sum(a * b) for a, b in zip(slopes, v))
    assert_close(along, finite_difference(loss, start, v, 1e-3), 1e-7)


UNTYPED = """
import diffrax as dfx, jax, jax.numpy as jnp
from tenfold.hollow import BDF, JacobiOnly

def end(rate):
    decay = dfx.ODETerm(lambda t, y, args: -rate * y)
    return dfx.diffeqsolve(decay, BDF(1, JacobiOnly()), 0.0, 0.4, 0.2, jnp.ones(1)).ys.sum()

print(jax.grad(end)(1.0))
for wrong in ({"order": 2.0}, {"corrector": "jacobi"}):
    try:
        BDF(**wrong)
    except ValueError as error:
        print(error)
"""


def test_gradients_of_closed_over_values_without_the_tests_type_checks():
    """z = 1/(1 + h r)^2. The checks rebuild every function, and so hid a closure held fixed.

    They also refuse some input first.
    """
    words = [sys.executable, "-c", UNTYPED]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    slope, *refusals = done.stdout.splitlines()
    assert abs(float(slope) + 2 * 0.2 / 1.2**3) < 1e-5
    assert refusals[0] == "BDF: `order` must be one of 1, 2, got 2.0"
    assert refusals[1].startswith("BDF: `corrector` must be a root finder")


def test_a_step_that_is_not_solved_ends_a_solve_with_given_steps(x64):
    run = solve(BDF(1, Functional()), stiff, 2.0, jnp.zeros(4), args=1e4, dt0=0.1)
    assert run.result == dfx.RESULTS.nonlinear_divergence


def test_wrong_input_is_refused_by_name():
    with pytest.raises(ValueError, match="ABM: `order` must be one of 1, 2, 3, 4, got 5"):
        ABM(5)
    with pytest.raises(ValueError, match="BDF: `order` must be one of 1, 2, got 3"):
        BDF(3)
    with pytest.raises(ValueError, match="`order` must be one of 1, 2, 3, 4, got True"):
        ABM(True)
    loose = dfx.with_stepsize_controller_tols(optx.Newton)()
    with pytest.raises(ValueError, match="`corrector` must have an `rtol` of its own"):
        ABM(corrector=loose)
    with pytest.raises(ValueError, match="`max_iterations` must be an int >= 1"):
        BDF(max_iterations=0)
    with pytest.raises(ValueError, match="`y0` must hold real floating-point"):
        BDF(1).init(dfx.ODETerm(forced), 0.0, 1.0, jnp.ones(1, jnp.complex64), None)


def test_single_precision_stays_single():
    run = solve(ABM(4), forced, 1.0, jnp.ones(2, jnp.float32), dt0=0.1)
    assert run.ys.dtype == jnp.float32
    np.testing.assert_allclose(run.ys[-1], exact(1.0), atol=1e-4)
