"""Total derivatives of ODE solutions: closed forms, every kind of state, and refusals."""

import math
import warnings
from functools import partial

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import TOLERANCE, assert_close
from problems import PROBLEMS
from tenfold.nets import TimeMLP
from tenfold.taylor import taylor_coefficients, total_derivative_norm, total_derivatives
from tenfold.taylor.baselines import nested_coefficients

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ACTIVATIONS = (
    jnp.tanh, jax.nn.sigmoid, jax.nn.softplus, jax.nn.relu, jax.nn.silu, jax.nn.gelu, jax.nn.elu,
    jax.nn.selu, jax.nn.celu, jax.nn.leaky_relu, jax.nn.mish, jax.nn.log_sigmoid,
    jax.nn.soft_sign, jax.nn.hard_tanh, jnp.sin, jnp.exp,
)  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_closed_forms_hold_to_order_six(problem, dtype):
    """The bank of problems, relative to each derivative's own size, in the dtype of the state."""
    with jax.enable_x64(dtype == "float64"):
        z = problem.start(jnp.dtype(dtype))
        found = total_derivatives(problem.field, problem.t0, z, 6)
        assert all(d.dtype == z.dtype for d in found)
        for value, exact in zip(found[1:], problem.derivatives(6), strict=True):
            np.testing.assert_allclose(value, exact, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_coefficients_are_derivatives_over_factorials(x64):
    z, f = jnp.array([0.3, -0.8]), lambda t, z, a: jnp.sin(z) * t
    towers = taylor_coefficients(f, 0.7, z, 8)
    derivatives = total_derivatives(f, 0.7, z, 8)
    assert len(towers) == 9
    assert_close([math.factorial(k) * c for k, c in enumerate(towers)], derivatives)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.__name__)
def test_random_nets_agree_with_nested_jvps(activation, getkey, x64):
    """The default `eqx.nn.MLP` with each activation of `jax.nn`, at order 4."""
    net = eqx.nn.MLP(3, 3, 8, 2, activation=activation, key=getkey())
    z = jax.random.normal(getkey(), (3,))

    @partial(jax.jit, compiler_options=QUICK)
    def both(z):
        def f(t, z, args):
            return net(z) * (1 + t)

        return taylor_coefficients(f, 0.2, z, 4), nested_coefficients(f, 0.2, z, 4)

    assert_close(*both(z))


def test_derivatives_are_those_of_a_tight_solve(getkey, x64):
    """Fourth-order differences of an adaptive solution at 1e-13, of orders 1 and 2."""
    net, z, h = TimeMLP(3, 8, key=getkey()), jax.random.normal(getkey(), (3,)), 1e-2

    def at(t1):
        return dfx.diffeqsolve(
            dfx.ODETerm(net), dfx.Dopri8(), 0.0, t1, None, z,
            stepsize_controller=dfx.PIDController(1e-13, 1e-13), throw=False,
        ).ys[-1]  # fmt: skip

    a, b, c, d = jax.jit(jax.vmap(at), compiler_options=QUICK)(jnp.array([-2.0, -1, 1, 2]) * h)
    _, first, second = total_derivatives(net, 0.0, z, 2)
    np.testing.assert_allclose((a - 8 * b + 8 * c - d) / (12 * h), first, atol=1e-7)
    np.testing.assert_allclose(
        (-a + 16 * b - 30 * z + 16 * c - d) / (12 * h * h), second, atol=1e-6
    )


def test_a_batch_is_a_loop_of_singles(getkey, x64):
    """A batched field, `vmap` over states, and one state at a time give the same numbers."""
    net, z = TimeMLP(2, 5, key=getkey()), jax.random.normal(getkey(), (3, 2))

    def batched(t, z, args):
        return jax.vmap(net, (None, 0, None))(t, z, args)

    @partial(jax.jit, compiler_options=QUICK)
    def one(z):
        return taylor_coefficients(net, 0.1, z, 4)

    whole = jax.jit(lambda z: taylor_coefficients(batched, 0.1, z, 4), compiler_options=QUICK)(z)
    assert_close(whole, jax.vmap(one.__wrapped__)(z))
    assert_close(whole, [jnp.stack(rows) for rows in zip(*map(one, z))])


def test_each_example_may_have_its_own_time(x64):
    """A time array inside a batched field: z' = t z, row by row."""
    t, z = jnp.array([0.2, 0.9]), jnp.array([1.0, 2.0])
    whole = total_derivatives(lambda t, z, a: t * z, t, z, 5)
    rows = [total_derivatives(lambda t, z, a: t * z, float(s), x, 5) for s, x in zip(t, z)]
    assert_close(whole, [jnp.stack(row) for row in zip(*rows)])


def test_a_pytree_moves_as_the_flat_state_does(x64):
    """A spring as (position, velocity) in a dict, against the matrix exponential's powers."""
    z = {"x": jnp.array(1.0), "v": jnp.array(0.5)}
    found = total_derivatives(lambda t, z, a: {"x": z["v"], "v": -a * z["x"]}, 0.0, z, 5, args=4.0)
    power, start = np.array([[0.0, 1.0], [-4.0, 0.0]]), np.array([1.0, 0.5])
    for k, tree in enumerate(found):
        expected = np.linalg.matrix_power(power, k) @ start
        assert_close([tree["x"], tree["v"]], [jnp.array(e) for e in expected])


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, lambda f: f], ids=["jit", "remat", "-"])
def test_transformed_fields_and_callers_change_nothing(wrap, getkey, x64):
    """A field behind jit or checkpoint, the caller under jit with a traced time."""
    net, z = TimeMLP(2, 4, key=getkey()), jax.random.normal(getkey(), (2,))
    field = wrap(lambda t, z, args: net(t, z, args))
    plain = taylor_coefficients(net, 0.3, z, 3)
    found = jax.jit(lambda t, z: taylor_coefficients(field, t, z, 3))(jnp.array(0.3), z)
    assert_close(found, plain)


def test_the_gradient_is_that_of_nested_jvps(getkey, x64):
    """In the weights and in the state, of the squared third derivative."""
    net, z = TimeMLP(2, 4, key=getkey()), jax.random.normal(getkey(), (2,))

    def loss(both, scheme):
        net, z = both
        return jnp.sum(scheme(net, 0.3, z, 3)[3] ** 2)

    compute = eqx.filter_jit(eqx.filter_grad(loss))
    assert_close(compute((net, z), taylor_coefficients), compute((net, z), nested_coefficients))


def test_order_zero_is_the_state_and_order_one_the_field(x64):
    z = jnp.array([1.0, 2.0])
    assert_close(taylor_coefficients(lambda t, z, a: z**2, 0.0, z, 0), [z])
    assert_close(taylor_coefficients(lambda t, z, a: z**2, 0.0, z, 1), [z, z**2])


def test_single_precision_stays_single_where_double_is_allowed(x64):
    z = jnp.ones(3, jnp.float32)
    found = total_derivatives(lambda t, z, a: jnp.sin(z), 0.5, z, 5)
    assert {d.dtype for d in found} == {jnp.dtype("float32")}


def test_leaves_may_differ_in_precision(x64):
    """Time takes the finer one's; every leaf keeps its own."""
    z = {"coarse": jnp.ones(2, jnp.float32), "fine": jnp.ones(2)}

    def f(t, z, args):
        return {"coarse": jnp.sin(z["coarse"]), "fine": z["fine"] * t}

    found = total_derivatives(f, 0.5, z, 3)[3]
    assert (found["coarse"].dtype, found["fine"].dtype) == (jnp.float32, jnp.float64)


def test_factorials_beyond_the_integers_of_32_bits():
    """z' = z in float32: all derivatives to order 15 are 1, and 13! is no int32."""
    z = jnp.ones(())
    assert_close(total_derivatives(lambda t, z, a: z, 0.0, z, 15), [z] * 16)
    assert_close(nested_coefficients(lambda t, z, a: 0 * z, 0.0, z, 0), [z])


def test_the_norm_is_a_mean_over_all_but_the_batch(x64):
    """Over two leaves of different sizes, for a batch and for a single state."""
    z = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.arange(2.0)[:, None]}
    norm = total_derivative_norm(lambda t, z, a: z, 0.0, z, 2)
    entries = jnp.concatenate([z["a"], z["b"]], axis=1)
    assert_close(norm, jnp.mean(entries**2, axis=1))
    single = jax.tree.map(lambda leaf: leaf[1], z)
    found = total_derivative_norm(lambda t, z, a: z, 0.0, single, 2, batch_axes=())
    assert_close(found, jnp.mean(entries[1] ** 2))


def identity(t, z, args):
    return z


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: taylor_coefficients(identity, 0.0, jnp.ones(2), -1), "`order` must be at least 0"),
        (lambda: taylor_coefficients(identity, 0.0, jnp.arange(2), 2), "must be floating point"),
        (lambda: taylor_coefficients(identity, 0.0, {}, 2), "has no arrays"),
        (
            lambda: taylor_coefficients(lambda t, z, a: z[:1], 0.0, jnp.ones(2), 2),
            r"like the state `z`, float32\[2\]; it returned float32\[1\]",
        ),
        (
            lambda: total_derivative_norm(identity, 0.0, jnp.ones(2), 2, batch_axes=(1,)),
            "`batch_axes`",
        ),
    ],
    ids=["order", "integers", "empty", "shape", "axes"],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_nothing_warns(getkey):
    """A smooth field draws no warning, whatever the order."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taylor_coefficients(TimeMLP(2, 4, key=getkey()), 0.0, jnp.ones(2), 3)
