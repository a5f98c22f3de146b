"""What goes in and out of `jet` and `Tower`: pytrees, scaling, dtypes, errors, transformations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jet_reference import nested_derivatives

from helpers import FD_TOLERANCE, assert_close, finite_difference
from tenfold.base.jet import Tower, jet


def field(state, t):
    """A dict and a scalar to a tuple."""
    return (jnp.sin(state["a"]) * t, jnp.sum(state["a"] * state["b"]) + t**2)


@pytest.fixture
def state(x64, getkey):
    return {"a": jax.random.normal(getkey(), (2, 3)), "b": jax.random.normal(getkey(), (2, 3))}


def test_pytrees_go_in_and_come_out(state):
    """Two arguments, one a dict, to a tuple, against nested forward mode in both together."""
    t, rates = jnp.asarray(0.3), [jnp.asarray(1.0), jnp.asarray(0.5), jnp.asarray(-2.0)]
    curve = [jax.tree.map(lambda x, k=k: jnp.cos(k * x), state) for k in (1, 2, 3)]
    value, series = jet(field, (state, t), (curve, rates), scaled=True)
    assert_close(value, field(state, t))
    for index in (0, 1):
        nested = nested_derivatives(
            lambda both, index=index: field(*both)[index], (state, t), list(zip(curve, rates))
        )
        ours = [math.factorial(k) * c[index] for k, c in enumerate(series, 1)]
        assert_close(ours, nested[1:])


def test_tower_takes_one_order_at_a_time(state):
    """Its k-th push is the k-th coefficient of `jet`, whatever comes later."""
    t, zero = jnp.asarray(0.3), jnp.asarray(0.0)
    curve = [jax.tree.map(jnp.cos, state), jax.tree.map(jnp.sin, state)]
    value, series = jet(field, (state, t), (curve, [zero, zero]), scaled=True)
    tower = Tower(field, state, t)
    pushed = [tower.push(state, t)] + [tower.push(c, zero) for c in curve]
    assert_close(pushed, [value, *series])


def test_tower_takes_none_for_zero(x64):
    x = jnp.asarray([0.5, 2.0])
    tower = Tower(lambda x, y: x * jnp.sin(y), x, x)
    dense = Tower(lambda x, y: x * jnp.sin(y), x, x)
    for leaves in ([x, x], [None, x], [x, None], [None, None]):
        filled = [jnp.zeros_like(x) if leaf is None else leaf for leaf in leaves]
        (ours,), expected = tower.push_leaves(leaves), dense.push(*filled)
        assert_close(ours, expected)


def test_derivatives_are_factorials_times_coefficients(x64):
    x, order = jnp.asarray([0.2, -0.4]), 6
    derivatives = [jnp.cos(k * x) for k in range(1, order + 1)]
    coefficients = [d / math.factorial(k) for k, d in enumerate(derivatives, 1)]
    value, plain = jet(jnp.tanh, (x,), (derivatives,))
    same, scaled = jet(jnp.tanh, (x,), (coefficients,), scaled=True)
    assert_close(value, same)
    assert_close(plain, [math.factorial(k) * c for k, c in enumerate(scaled, 1)])


def test_factorials_of_a_float32_jet_are_exact_beyond_order_twelve():
    """The derivatives of exp are all 1; exp(lgamma(k + 1)) would be off by 1e-6 from k = 10."""
    x = jnp.zeros(())
    _, series = jet(jnp.exp, (x,), ([x + 1] + [x] * 15,))
    assert_close(series, [x + 1] * 16)


def test_factorials_of_a_float32_jet_are_exact():
    """1/(1 - x) at 0 has derivatives k!, all of them float32 numbers up to 10! and beyond."""
    x = jnp.zeros(())
    _, series = jet(lambda x: 1 / (1 - x), (x,), ([x + 1] + [x] * 11,))
    assert [float(v) for v in series] == [float(math.factorial(k)) for k in range(1, 13)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_dtypes_are_preserved_under_strict_promotion(dtype, x64):
    """Through rules, through JVPs, through structural zeros; x64 on."""

    def f(x):
        smooth = jnp.exp(-x * x) / (2 + jnp.sin(x)) + 3 * jnp.tanh(x) ** 3 - x**-2
        return smooth, jnp.sqrt(x) + jnp.log(x), 2 * x, jnp.ones_like(x)

    x = jnp.asarray([0.5, 2.0], dtype)
    out = jax.eval_shape(lambda x: jet(f, (x,), ([x, 0 * x, x, x],)), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype(dtype)}


def test_integer_powers_of_lax_keep_strict_promotion():
    x = jnp.asarray([0.5, 2.0])
    exponents = jnp.asarray([2, 3])
    expected = jet(lambda x: jnp.stack([x[0] ** 2, x[1] ** 3]), (x,), ([x, x],))
    assert_close(jet(lambda x: jax.lax.pow(x, exponents), (x,), ([x, x],)), expected)


def test_outputs_that_are_not_floats_have_zero_series():
    x = jnp.asarray([0.5, 2.0])
    (which, flags), series = jet(lambda x: (jnp.argmax(x), x > 1), (x,), ([x, x],))
    assert int(which) == 1
    assert flags.tolist() == [False, True]
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(series))


def test_a_constant_function_has_zero_series():
    x = jnp.asarray([0.5, 2.0])
    value, series = jet(lambda x: (jnp.ones(3), 2.0), (x,), ([x, x],))
    assert_close(value, (jnp.ones(3), jnp.asarray(2.0)))
    assert_close(series, [(jnp.zeros(3), jnp.asarray(0.0))] * 2)


def test_no_orders_is_a_plain_evaluation():
    x = jnp.asarray(0.5)
    assert_close(jet(jnp.sin, (x,), ([],)), (jnp.sin(x), []))


# ---- Errors -----------------------------------------------------------------------------------

ONE = jnp.ones(2)
REFUSED = {
    "an integer": ((jnp.arange(2),), ([jnp.arange(2)],), "floating point, got int32"),
    "a boolean": ((jnp.ones(2, bool),), ([jnp.ones(2, bool)],), "floating point, got bool"),
    "too few series": ((ONE, ONE), ([ONE],), "2 primals"),
    "unequal lengths": ((ONE, ONE), ([ONE], [ONE, ONE]), r"\[1, 2\]"),
    "another shape": ((ONE,), ([ONE, jnp.ones(3)],), r"coefficient 2 .*\(3,\).*\(2,\)"),
    "another structure": ((ONE,), ([(ONE,)],), "coefficient 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_computed(case):
    primals, series, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        jet(lambda *x: x[0], primals, series)


# ---- Transformations --------------------------------------------------------------------------


def third(x):
    """The third derivative of softplus(x)^2 tanh(x) along x + s sin(x)."""
    along = [jnp.sin(x), jnp.zeros_like(x), jnp.zeros_like(x)]
    return jet(lambda x: jax.nn.softplus(x) ** 2 * jnp.tanh(x), (x,), (along,))[1][2]


@pytest.fixture
def x(x64, getkey):
    return jax.random.normal(getkey(), (4,))


def test_jit_checkpoint_and_vmap_change_nothing(x):
    expected = third(x)
    for transformed in (
        jax.jit(third),
        jax.checkpoint(third),
        jax.vmap(third),
        jax.jit(jax.vmap(third)),
    ):
        assert_close(transformed(x), expected)


def test_its_derivatives_are_those_of_finite_differences(x):
    """Forward, reverse, and reverse through a checkpoint."""
    v = jnp.cos(x)
    expected = finite_difference(third, x, v)
    assert_close(jax.jvp(third, (x,), (v,))[1], expected, FD_TOLERANCE)
    for f in (third, jax.checkpoint(third)):
        gradient = jax.jit(jax.grad(lambda x, f=f: jnp.sum(f(x))))(x)
        assert_close(gradient * v, expected, FD_TOLERANCE)


def test_a_jet_of_a_jet_is_a_jet(x):
    """d/ds of the second derivative along a fixed direction is the third."""
    v, zero = jnp.cos(x), jnp.zeros_like(x)

    def second(x):
        return jet(jnp.tanh, (x,), ([v, zero],))[1][1]

    nested = jet(second, (x,), ([v],))[1][0]
    assert_close(nested, jet(jnp.tanh, (x,), ([v, zero, zero],))[1][2])
