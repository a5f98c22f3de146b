import itertools

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_unbiased, finite_difference
from tenfold import hollow, taylor
from tenfold.base import (
    CNF,
    EvalCounter,
    Hutchinson,
    Normal,
    Solve,
    is_okay,
    move,
    normal_log_prob,
    rademacher_like,
    reversed_time,
    vmapped,
)

RATES = np.array([0.5, -1.0, 0.2])
MATRIX = np.array([[0.3, 0.7, -0.2], [-0.4, -0.6, 0.9], [0.1, 0.8, 0.5]])
TIGHT = Solve(controller=dfx.PIDController(rtol=1e-11, atol=1e-11))


def scaling(t, x, args):
    return jnp.asarray(RATES, x.dtype) * x


def linear(t, x, args):
    return jnp.asarray(MATRIX, x.dtype) @ x


def growing(t, x, args):
    return args * jnp.asarray(t, x.dtype) * x


def normal(d=3):
    return Normal(jnp.zeros(d), jnp.ones(d))


@eqx.filter_jit
def log_prob(cnf, x, how=None, args=None):
    return cnf.log_prob(x, args) if how is None else cnf.log_prob(x, args, how=how)


def test_the_density_of_a_scaling_flow(x64):
    """log p(x) = log N(x e^(-a T)) - T sum a: sign of the divergence and direction of time."""
    x, end = jnp.array([0.3, -1.0, 2.0]), 1.5
    found, moved = log_prob(CNF(scaling, normal(), t1=end, solve=TIGHT), x)
    base = normal_log_prob(x * jnp.exp(-RATES * end), 0.0, 1.0)
    assert_close(found, base - end * RATES.sum(), 1e-9)
    assert_close(moved.x, x * np.exp(-RATES * end), 1e-9)
    assert is_okay(moved.result)


def test_a_field_that_depends_on_time_and_args(x64):
    """x' = a t x on [0.5, 2]: the exponent is a (4 - 1/4)/2."""
    x, a = jnp.array([0.3, -1.0, 2.0]), 0.4
    found, _ = log_prob(CNF(growing, normal(), 0.5, 2.0, TIGHT), x, args=a)
    exponent = a * (4 - 0.25) / 2
    assert_close(found, normal_log_prob(x * jnp.exp(-exponent), 0.0, 1.0) - 3 * exponent, 1e-9)


def test_the_density_of_a_linear_flow_is_the_gaussian_it_makes(x64):
    from scipy.linalg import expm

    x = jnp.array([0.3, -1.0, 2.0])
    found, _ = log_prob(CNF(linear, normal(), solve=TIGHT), x)
    factor = expm(MATRIX)
    covariance = factor @ factor.T
    quadratic = x @ np.linalg.solve(covariance, x)
    expected = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert_close(found, expected, 1e-9)


def test_a_sample_has_the_density_that_is_said_of_it(x64, getkey):
    net = hollow.hollow_mlp(3, 2, 4, key=getkey())
    cnf = CNF(net, normal(), solve=TIGHT)
    x, said, _ = eqx.filter_jit(lambda c, k: c.sample_and_log_prob(k))(cnf, getkey())
    assert_close(log_prob(cnf, x)[0], said, 1e-8)
    z = jax.random.normal(jax.random.fold_in(jax.random.key(2024), 1), (3,))
    assert_close(log_prob(cnf, x)[1].x, z, 1e-8)


def test_the_density_is_normalised(x64, getkey):
    """Of a net that mixes, in one dimension, by the trapezoidal rule on [-12, 12]."""
    net = jax.tree.map(lambda a: 2 * a, hollow.hollow_mlp(1, 2, 4, key=getkey()))
    cnf = CNF(vmapped(net), normal(1), solve=Solve(controller=dfx.PIDController(1e-8, 1e-8)))
    grid = jnp.linspace(-12, 12, 2001)[:, None]
    density = np.exp(log_prob(cnf, grid)[0])
    assert_close(np.trapezoid(density, grid[:, 0]), np.ones(()), 1e-5)


def test_a_hollow_field_is_exact_and_hutchinson_is_unbiased(x64, getkey):
    """Over all 2^d signs the estimates average to the exact value; hollow needs no probe."""
    net = hollow.hollow_mlp(3, 2, 6, key=getkey())
    plain = lambda t, x, args: net(t, x, args)  # noqa: E731  (hides what the net knows)
    solve = Solve(dfx.Bosh3(), dfx.ConstantStepSize(), 0.25)
    x = jax.random.normal(getkey(), (3,))
    exact = [log_prob(CNF(f, normal(), solve=solve), x)[0] for f in (net, plain)]
    assert_close(*exact)
    signs = jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=3)))
    cnf = CNF(net, normal(), solve=solve)
    values = jax.vmap(lambda e: log_prob(cnf, x, Hutchinson(e))[0])(signs)
    # With given steps the log-determinant is linear in e e^T, whose mean is I.
    assert_close(jnp.mean(values), exact[0])
    assert values.std() > 1e-3


def test_the_variance_of_hutchinsons_log_det_is_known_for_a_linear_field(x64, getkey):
    """log_det = T e^T A e: mean T tr A, variance 2 T^2 (|A_s|^2 - |diag A|^2)."""
    probes = jax.vmap(lambda k: rademacher_like(k, jnp.zeros(3)))(jax.random.split(getkey(), 2000))
    solve = Solve(dfx.Euler(), dfx.ConstantStepSize(), 0.5)

    def estimate(e):
        return move(linear, jnp.ones(3), 0.0, 2.0, how=Hutchinson(e), solve=solve).log_det

    found = jax.jit(jax.vmap(estimate))(probes)
    symmetric = (MATRIX + MATRIX.T) / 2
    variance = 2 * 4 * ((symmetric**2).sum() - (np.diag(MATRIX) ** 2).sum())
    assert_unbiased(found, 2 * np.trace(MATRIX))
    assert_unbiased((found - 2 * np.trace(MATRIX)) ** 2, variance)


def test_a_batch_in_one_solve_is_each_example(x64, getkey):
    net = hollow.hollow_mlp(2, 2, 4, key=getkey())
    x = jax.random.normal(getkey(), (4, 2))
    together, moved = log_prob(CNF(vmapped(net), normal(2), solve=TIGHT), x)
    apart, _ = jax.vmap(lambda x: log_prob(CNF(net, normal(2), solve=TIGHT), x))(x)
    assert together.shape == moved.log_det.shape == (4,)
    assert_close(together, apart, 1e-8)


def test_gradients_of_the_density_match_finite_differences(x64, getkey):
    net = hollow.hollow_mlp(2, 2, 4, key=getkey())
    x = jnp.array([0.3, -0.8])
    solve = Solve(dfx.Tsit5(), dfx.ConstantStepSize(), 0.25)

    @jax.jit
    def loss(net):
        return CNF(net, normal(2), solve=solve).log_prob(x)[0]

    slope = jax.jit(jax.grad(loss))(net)
    v = jax.tree.map(lambda a: jax.random.normal(getkey(), a.shape), net)
    along = sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(v)))
    assert_close(along, finite_difference(loss, net, v, 1e-4), 1e-6)


@pytest.mark.parametrize("direction", [1, -1])
def test_penalties_are_integrated_and_leave_the_steps_alone(direction, x64):
    """Kinetic energy of x' = a x: the mean over entries of a x0^2 (e^(2 a T) - 1)/2."""
    x, a = jnp.array([0.3, -1.0, 2.0]), RATES * direction
    kinetic = {"kinetic": taylor.KineticReg(batch_axes=()).integrand}
    t0, t1 = (0.0, 1.0) if direction > 0 else (1.0, 0.0)
    with_ = eqx.filter_jit(move)(scaling, x, t0, t1, penalties=kinetic, solve=TIGHT)
    without = eqx.filter_jit(move)(scaling, x, t0, t1, solve=TIGHT)
    expected = np.mean(RATES**2 * np.asarray(x) ** 2 * np.expm1(2 * a) / (2 * a))
    assert_close(with_.penalties["kinetic"], expected, 1e-5)
    assert int(with_.nfe) == int(without.nfe)
    np.testing.assert_array_equal(with_.x, without.x)


def test_nfe_is_what_the_field_was_asked(getkey):
    counter = EvalCounter(scaling)
    solve = Solve(dfx.Dopri5(), dfx.PIDController(rtol=1e-4, atol=1e-4), dt0=0.05)

    def how(field, t, x, args):
        return field(t, x, args), jnp.sum(jnp.asarray(RATES, x.dtype))

    moved = jax.jit(lambda x: move(counter, x, 0.0, 1.0, how=how, solve=solve))(jnp.ones(3))
    assert int(moved.nfe) == counter.count()
    # A solver that counts for itself: rejected steps too, of which the long first one makes some.
    counter.reset()
    multistep = Solve(
        hollow.ABM(4, hollow.Functional()), dfx.PIDController(rtol=1e-4, atol=1e-4), dt0=0.9
    )
    moved = jax.jit(lambda x: move(counter, x, 0.0, 1.0, how=how, solve=multistep))(jnp.ones(3))
    assert int(moved.nfe) == counter.count()
    implicit = Solve(dfx.Kvaerno3(), dfx.PIDController(rtol=1e-3, atol=1e-3))
    assert move(scaling, jnp.ones(3), 0.0, 1.0, solve=implicit).nfe == -1


def test_a_failed_solve_is_a_result_and_no_exception():
    solve = Solve(controller=dfx.PIDController(rtol=1e-6, atol=1e-6), max_steps=2)
    assert not is_okay(move(lambda t, x, a: jnp.sin(50 * x), jnp.ones(2), 0, 5, solve=solve).result)


def test_wrong_input_is_refused_by_name(getkey):
    with pytest.raises(ValueError, match="`x` must hold real floating-point"):
        move(scaling, jnp.arange(3), 0.0, 1.0)
    with pytest.raises(ValueError, match="output of `field"):
        move(lambda t, x, args: x[:2], jnp.ones(3), 0.0, 1.0)
    net = hollow.hollow_mlp(2, 2, 4, key=getkey())
    for field in (vmapped(net), reversed_time(vmapped(net), 0, 1), eqx.filter_jit(vmapped(net))):
        with pytest.raises(ValueError, match=r"`field` is vmapped.*jax.vmap\(CNF\(field, base\)"):
            CNF(field, normal(2)).sample(getkey())
    with pytest.raises(ValueError, match=r"`field\(t, x, args\)` must .* dtypes of `x`, f32\[3\]"):
        CNF(lambda t, x, args: x.astype(jnp.bfloat16), normal()).log_prob(jnp.ones(3))
