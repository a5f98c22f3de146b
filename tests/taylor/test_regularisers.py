"""R_K, the kinetic energy and the Jacobian penalty, against integrals known in closed form."""

from functools import partial

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_unbiased, fd_jacobian, finite_difference
from problems import PROBLEMS
from tenfold.base import vmapped
from tenfold.nets import TimeMLP
from tenfold.taylor import (
    EvalCounter,
    JacFrobReg,
    KineticReg,
    SpeedReg,
    penalty,
    solve_regularised,
)

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Compiling is what these tests cost, and XLA's optimisations are not what they test."""

SPEEDS = [p for p in PROBLEMS if p.speed is not None]
ADAPTIVE = dfx.PIDController(rtol=1e-6, atol=1e-6)


def solve(field, z, regs, *, steps=40, solver=None, t0=0.0, t1=1.0, **options):
    """A fixed grid of Dopri5 unless told otherwise; z of shape (B, D)."""
    return solve_regularised(
        dfx.ODETerm(field), solver or dfx.Dopri5(), t0, t1, (t1 - t0) / steps, z, regs,
        **{"max_steps": steps + 1} | options,
    )  # fmt: skip


@pytest.mark.parametrize("problem", SPEEDS, ids=lambda p: p.name)
def test_the_integral_of_the_squared_derivative_is_the_known_one(problem, x64):
    """R_1, ..., R_4; two Gauss nodes a step, or the solver's own order, leave 1e-8."""
    field, z = vmapped(problem.field), problem.start()[None]
    regs = {
        f"{how} {k}": SpeedReg(k, quadrature=how) for how in ("stage", "step") for k in (1, 2, 3, 4)
    }
    _, found = jax.jit(lambda z: solve(field, z, regs, nodes=2), compiler_options=QUICK)(z)
    for name, integral in found.items():
        np.testing.assert_allclose(integral, [problem.speed(int(name[-1]))], rtol=1e-7, atol=1e-9)


def test_the_gradient_of_the_integral_is_the_known_one(x64):
    """z' = a z: R_2 = a^3 (e^{2a} - 1) / 2, differentiated in a through the solver."""
    regs = {how: SpeedReg(2, quadrature=how) for how in ("stage", "step")}
    how_much = {"stage": 1.0, "step": -3.0}  # if either were wrong, the sum would be

    def speed(a):
        _, found = solve(lambda t, z, args: a * z, jnp.ones((1, 1)), regs, nodes=2)
        return sum(factor * found[how][0] for how, factor in how_much.items())

    a = 0.7
    expected = -2 * (1.5 * a**2 * (np.exp(2 * a) - 1) + a**3 * np.exp(2 * a))
    gradient = jax.jit(jax.grad(speed), compiler_options=QUICK)(a)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7)


def test_the_kinetic_energy_is_the_speed_of_order_one(getkey, x64):
    net, z = TimeMLP(3, 6, key=getkey()), jax.random.normal(getkey(), (4, 3))
    field = vmapped(net)
    regs = {"R_1": SpeedReg(1), "kinetic": KineticReg()}
    _, found = jax.jit(lambda z: solve(field, z, regs), compiler_options=QUICK)(z)
    assert_close(found["R_1"], found["kinetic"])


def test_the_jacobian_penalty_is_the_norm_of_a_product(getkey, x64):
    """|J eps|^2 / D with the dense Jacobian, and its mean over all signs is |J|_F^2 / D."""
    net, z = TimeMLP(3, 6, key=getkey()), jax.random.normal(getkey(), (3,))
    jacobian = jax.jacfwd(lambda z: net(0.2, z))(z)
    assert_close(np.asarray(jacobian), fd_jacobian(lambda z: net(0.2, z), z), 1e-7)
    signs = jnp.array([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])

    def integrand(eps):
        return JacFrobReg(eps, batch_axes=()).integrand(net, 0.2, z, None)

    found = jax.vmap(integrand)(signs)
    assert_close(found, jnp.mean((signs @ jacobian.T) ** 2, axis=1))
    assert_close(jnp.mean(found), jnp.sum(jacobian**2) / 3)


SOLVERS = [dfx.Heun(), dfx.Bosh3(), dfx.Tsit5(), dfx.Dopri5(), dfx.Dopri8()]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("quadratures", [["stage", "mc"], ["step"]], ids="-".join)
def test_a_regulariser_does_not_touch_the_steps(solver, quadratures, getkey, x64):
    """Adaptive: accepted times, states and evaluations are bit for bit those of the plain solve."""
    net, z = TimeMLP(2, 8, key=getkey()), 2 * jax.random.normal(getkey(), (3, 2))
    term = dfx.ODETerm(vmapped(net))
    saveat = dfx.SaveAt(steps=True, t1=True)
    options = {"saveat": saveat, "stepsize_controller": ADAPTIVE, "max_steps": 2000, "throw": False}
    regs = {how: SpeedReg(2, 1e6, how) for how in quadratures}

    @jax.jit
    def both(z):
        plain = dfx.diffeqsolve(term, solver, 0.0, 1.0, 0.1, z, **options)
        solution, _ = solve_regularised(
            term, solver, 0.0, 1.0, 0.1, z, regs, key=jax.random.key(0), **options
        )
        return [(s.ts, s.ys, s.stats["num_accepted_steps"], s.stats["num_rejected_steps"])
                for s in (plain, solution)]  # fmt: skip

    plain, regularised = both(z)
    for a, b in zip(plain, regularised, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_random_time_a_solve_is_unbiased(x64):
    """z' = z: R_1 = (e^2 - 1)/2 over 4000 keys."""
    regs = {"R": SpeedReg(1, quadrature="mc")}

    def one(key):
        return solve(lambda t, z, a: z, jnp.ones((1, 1)), regs, key=key, steps=20)[1]["R"][0]

    samples = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 4000))
    assert_unbiased(samples, (np.exp(2) - 1) / 2)


def test_the_three_quadratures_agree(getkey, x64):
    """On a net, R_2 by stages and by two nodes a step; the random time's mean over a grid of it."""
    net, z = TimeMLP(2, 8, key=getkey()), jax.random.normal(getkey(), (3, 2))
    regs = {q: SpeedReg(2, quadrature=q) for q in ("stage", "step", "mc")}

    @partial(jax.jit, compiler_options=QUICK)
    def integrals(key):
        return solve(vmapped(net), z, regs, nodes=2, key=key)[1]

    found = integrals(jax.random.key(0))
    assert_close(found["step"], found["stage"], 1e-8)
    keys = jax.random.split(jax.random.key(2), 1000)
    samples = jax.lax.map(integrals.__wrapped__, keys)["mc"]
    for example in range(3):
        assert_unbiased(samples[:, example], found["stage"][example])


def test_a_first_step_chosen_by_the_solver_is_the_same_too(getkey, x64):
    """With dt0=None Diffrax looks at the field and its norm: at z alone."""
    net, z = TimeMLP(2, 8, key=getkey()), jax.random.normal(getkey(), (3, 2))
    term, regs = dfx.ODETerm(vmapped(net)), {"R": SpeedReg(2, 1e6)}
    options = {"stepsize_controller": ADAPTIVE, "throw": False}
    plain = dfx.diffeqsolve(term, dfx.Tsit5(), 0.0, 1.0, None, z, **options)
    ours, _ = solve_regularised(term, dfx.Tsit5(), 0.0, 1.0, None, z, regs, **options)
    assert plain.stats["num_steps"] == ours.stats["num_steps"]
    np.testing.assert_array_equal(plain.ys, ours.ys)


def test_single_precision_times_meet_a_random_time_under_x64(x64):
    """Nothing is promoted: t0, t1 and z are float32 where float64 is allowed."""
    t0, t1 = jnp.float32(0.0), jnp.float32(1.0)
    regs = {"R": SpeedReg(2, quadrature="mc")}
    z = jnp.ones((1, 1), jnp.float32)
    _, found = solve_regularised(
        dfx.ODETerm(lambda t, z, a: z * t), dfx.Heun(), t0, t1, jnp.float32(0.1), z, regs,
        key=jax.random.key(0), throw=False,
    )  # fmt: skip
    assert found["R"].dtype == jnp.float32


def test_integrals_run_backwards_with_a_sign(x64):
    """From 1 to 0 the integral is minus that from 0 to 1, by each quadrature."""
    regs = {how: SpeedReg(1, quadrature=how) for how in ("stage", "step")}

    def integrals(start, t0, t1):
        z = jnp.full((1, 1), start)
        return solve(lambda t, z, a: t * z, z, regs, nodes=2, t0=t0, t1=t1)[1]

    forward = integrals(1.0, 0.0, 1.0)
    backward = integrals(np.exp(0.5), 1.0, 0.0)
    assert_close(forward, jax.tree.map(jnp.negative, backward), 1e-7)


def test_the_loss_gradient_is_that_of_finite_differences(getkey, x64):
    """Through solver, integral and penalty, in every weight of a net."""
    net, z = TimeMLP(2, 4, key=getkey()), jax.random.normal(getkey(), (3, 2))
    regs = {"R_2": SpeedReg(2, 0.3, "step"), "kinetic": KineticReg(0.1)}
    arrays, static = eqx.partition(net, eqx.is_array)

    @partial(jax.jit, compiler_options=QUICK)
    def loss(arrays):
        field = vmapped(eqx.combine(arrays, static))
        solution, integrals = solve(field, z, regs, steps=4, solver=dfx.Bosh3())
        return jnp.sum(solution.ys[-1] ** 2) + penalty(regs, integrals)

    along = jax.tree.map(lambda leaf: jax.random.normal(getkey(), leaf.shape), arrays)
    gradient = jax.jit(jax.grad(loss.__wrapped__), compiler_options=QUICK)(arrays)
    directional = sum(
        jnp.sum(a * b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(along))
    )
    np.testing.assert_allclose(directional, finite_difference(loss, arrays, along), rtol=1e-7)


def test_a_step_costs_one_tower_and_a_stage_one_each(getkey):
    """`step` evaluates the integrand once a step; `stage` once a stage (field calls counted)."""
    z = jnp.ones((1, 2))
    counts = {}
    for quadrature in ("step", "stage"):
        counter = EvalCounter(lambda t, z, a: jnp.sin(z))
        regs = {"R": KineticReg(quadrature=quadrature)}
        solution, _ = solve(counter, z, regs, steps=10, solver=dfx.Heun())
        jax.block_until_ready(solution.ys)
        counts[quadrature] = counter.count()
    assert counts == {"step": 20 + 10, "stage": 20 + 20}


RELU = eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0))
KINKED = {
    "relu": lambda t, z, a: RELU(z),
    "relu behind checkpoint": eqx.filter_checkpoint(lambda t, z, a: RELU(z)),
    "relu in a branch": lambda t, z, a: jax.lax.cond(t > 0, lambda z: RELU(z), jnp.sin, z),
    "relu in a scan": lambda t, z, a: jax.lax.scan(lambda c, _: (RELU(c), 0), z, length=2)[0],
    "relu6": lambda t, z, a: jax.nn.relu6(z),
    "leaky_relu": lambda t, z, a: jax.nn.leaky_relu(z),
    "max": lambda t, z, a: jnp.maximum(z, 0.1 * z),
    "max of the time": lambda t, z, a: jnp.maximum(t, 0.5) * z,
    "min": lambda t, z, a: jnp.clip(z, None, 1.0),
    "abs": lambda t, z, a: jnp.abs(z),
}
SMOOTH = {
    "tanh": lambda t, z, a: jnp.tanh(z),
    "softplus": lambda t, z, a: jax.nn.softplus(z),
    "softmax": lambda t, z, a: jax.nn.softmax(z),
    "logsumexp": lambda t, z, a: jax.nn.logsumexp(z) * z,
    "layer norm": lambda t, z, a: eqx.nn.LayerNorm(2)(z),
    "relu of the arguments": lambda t, z, a: jax.nn.relu(a) * z,
    "size of a square": lambda t, z, a: jnp.abs(z * z),
}


@pytest.mark.parametrize("name", KINKED)
def test_kinks_are_warned_of_from_order_two(name):
    """They bend where R_2 can't see, however deep they hide; R_1 sees all that there is."""
    z, args = jnp.array([0.3, -0.4]), jnp.ones(2)
    with pytest.warns(UserWarning, match=f"piecewise smooth .*{name.split()[0]}"):
        SpeedReg(2, batch_axes=()).integrand(KINKED[name], 0.0, z, args)
    SpeedReg(1, batch_axes=()).integrand(KINKED[name], 0.0, z, args)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_fields_are_not_warned_of(name):
    """Although softmax takes a maximum, and LayerNorm that of its variance and 0."""
    z, args = jnp.array([0.3, -0.4]), jnp.ones(2)
    SpeedReg(3, batch_axes=()).integrand(SMOOTH[name], 0.0, z, args)


def test_a_tolerance_below_the_resolution_is_warned_of():
    controller = dfx.PIDController(rtol=1.4e-8, atol=1.4e-8)
    with pytest.warns(UserWarning, match="resolution of the state's dtype"):
        solve(lambda t, z, a: z, jnp.ones((1, 1), jnp.float32), {"R": SpeedReg(1)},
              stepsize_controller=controller, max_steps=50)  # fmt: skip


EXPLICIT = {"z": jnp.ones((1, 1)), "regs": {"R": SpeedReg(1)}}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SpeedReg(0), "`order` must be at least 1"),
        (
            lambda: solve(lambda t, z, a: z, jnp.ones((1, 1)), {"R": SpeedReg(1, quadrature="mc")}),
            "needs `key`",
        ),
        (
            lambda: solve(
                lambda t, z, a: z, jnp.ones((1, 1)), {"R": SpeedReg(1, quadrature="step")},
                solver=dfx.Kvaerno3(), stepsize_controller=dfx.PIDController(1e-3, 1e-3),
            ),
            "implicit",
        ),
        (
            lambda: solve(
                lambda t, z, a: z, jnp.ones((1, 1)), {"R": SpeedReg(1)},
                saveat=dfx.SaveAt(dense=True),
            ),
            "`saveat`",
        ),
        (
            lambda: JacFrobReg(jnp.ones(3)).integrand(lambda t, z, a: z, 0.0, jnp.ones(2), None),
            "`eps` must be like the state",
        ),
    ],
    ids=["order", "key", "implicit", "dense", "eps"],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
