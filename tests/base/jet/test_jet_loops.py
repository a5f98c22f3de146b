"""Taylor mode through scan, while and cond: values, gradients, and how often the body is walked."""

import jax
import jax.numpy as jnp
import pytest
from jet_reference import QUICK, check_against_nested

from helpers import FD_TOLERANCE, assert_close, count_primitives, finite_difference
from tenfold.base.jet import Tower, jet

POINT = (0.31, 0.72, 0.24, 0.55)


def numbers(x, n=3):
    return jnp.arange(1.0, n + 1, dtype=x.dtype)


def scanned(x):
    final, all_of_them = jax.lax.scan(lambda c, a: (jnp.sin(c) * a + c, c * a), x, numbers(x))
    return final + all_of_them[1]


def scanned_over(x):
    """The curve is in what is scanned over, and in a constant of the body."""
    final, trace = jax.lax.scan(lambda c, a: (c * a + x, jnp.exp(a) * c), 0.1 * x, x)
    return final + jnp.sum(trace, 0)


def many_carried(x):
    """A counter, a float that stays, one that moves from the second iteration, a flag, a key."""

    def body(carry, a):
        i, still, later, moving, flag, key = carry
        noise = jax.random.normal(key, ())
        new = jnp.tanh(moving * still + later) * (i + 1).astype(x.dtype) + noise
        after = (i + 1, still * 2.0, moving * a, new, ~flag, jax.random.fold_in(key, i))
        return after, (jnp.where(flag, new, later), i, still)

    first = (0, numbers(x, 4), numbers(x, 4), x, True, jax.random.key(3))
    (_, _, later, moving, _, _), (trace, _, _) = jax.lax.scan(body, first, numbers(x))
    return later + moving + trace[1] * trace[2]


def nested_scan(x):
    def outer(c, a):
        inner, trace = jax.lax.scan(lambda d, b: (jax.nn.softplus(d * b) + c, d * a), c, numbers(x))
        return inner, trace[1]

    final, trace = jax.lax.scan(outer, x, numbers(x, 2))
    return final + trace[0] * trace[1]


def matrices_scanned(x):
    """A stack of layers, the way that deep nets are compiled fast."""
    weights = jnp.sin(jnp.arange(48.0, dtype=x.dtype).reshape(3, 4, 4))
    return jax.lax.scan(lambda c, w: (jnp.tanh(w @ c), None), x, weights)[0]


def looped(x):
    return jax.lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1]) * x, c[2] * 2.0), (0, x, x + 1)
    )[1]


LOOPS = {
    "scan": scanned,
    "scan over": scanned_over,
    "scan in reverse": lambda x: jax.lax.scan(lambda c, a: (jnp.sin(c) * a, c), x, x, reverse=True)[
        1
    ],
    "scan unrolled": lambda x: jax.lax.scan(lambda c, a: (jnp.sin(c) * a, c), x, x, unroll=2)[0],
    "scan of nothing": lambda x: jax.lax.scan(lambda c, a: (jnp.sin(c), a), x, x[:0])[0] * x,
    "scan by length": lambda x: jax.lax.scan(lambda c, _: (c * x, None), x, length=3)[0],
    "scan of what stays": lambda x: x * jax.lax.scan(lambda c, a: (c * a, c), 1.0, numbers(x))[0],
    "scan that forgets": lambda x: jax.lax.scan(
        lambda c, a: (x[:0].sum() + a, c * x), x[0], numbers(x)
    )[1][1],
    "many carried": many_carried,
    "nested scan": nested_scan,
    "layers": matrices_scanned,
    "while": looped,
    "while, stopped by value": lambda x: jax.lax.while_loop(
        lambda c: jnp.sum(c) < 6.0, lambda c: c * (1.5 + 0.1 * x), x
    ),
    "while that forgets": lambda x: jax.lax.while_loop(
        lambda c: c[0] < 2, lambda c: (c[0] + 1, jnp.ones_like(x), c[1] * x), (0, x, x)
    )[2],
    "fori": lambda x: jax.lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) * x, x),
    "fori, unknown length": lambda x: jax.lax.fori_loop(
        0, jnp.argmax(x) + 1, lambda i, c: c * x, x
    ),
    "cond": lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "cond with a constant": lambda x: jax.lax.cond(x[0] > 1, jnp.sin, jnp.ones_like, x) * x,
    "cond with integers": lambda x: jax.lax.cond(
        x[0] > 0, lambda x: (jnp.argmax(x), x * x), lambda x: (0, x), x
    )[1],
    "switch": lambda x: jax.lax.switch(jnp.argmax(x), [jnp.cos, jnp.sin, jnp.exp], x) * x,
    "cond in scan": lambda x: jax.lax.scan(
        lambda c, i: (jax.lax.cond(i == 1, jnp.sin, lambda c: c * x, c), None), x, jnp.arange(3)
    )[0],
}


@pytest.mark.parametrize("f", LOOPS.values(), ids=LOOPS)
def test_control_flow_has_the_series_of_nested_jvps(f, x64):
    check_against_nested(f, POINT, 3)


def third(f):
    """The third derivative of f along x + s sin(x)."""

    def derivative(x):
        zero = jnp.zeros_like(x)
        return jet(f, (x,), ([jnp.sin(x), zero, zero],))[1][2]

    return derivative


@pytest.mark.parametrize("name", ["scan over", "nested scan", "cond in scan", "many carried"])
def test_gradients_through_control_flow_are_those_of_finite_differences(name, x64):
    """Reverse mode, through what the scans have kept."""
    x, f = jnp.asarray(POINT), third(LOOPS[name])
    v = jnp.cos(x)
    compiled = jax.jit(f, compiler_options=QUICK)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(f(x) * v)), compiler_options=QUICK)(x)
    expected = finite_difference(lambda x: jnp.sum(compiled(x) * v), x, x)
    assert_close(jnp.sum(gradient * x), expected, FD_TOLERANCE)


def test_a_batch_of_choices_is_each_choice_and_keeps_its_gradient(x64):
    """Under vmap both branches run; the one not taken must not make the gradient nan."""

    def f(x):
        return jax.lax.cond(x > 0, lambda x: jnp.sin(x) / x, lambda x: jnp.log(1 - x) * x, x)

    xs = jnp.asarray([-0.5, 0.7])
    compute = jax.value_and_grad(third(f))
    batched = jax.jit(jax.vmap(compute), compiler_options=QUICK)(xs)
    single = jax.jit(compute, compiler_options=QUICK)
    assert_close(batched, jax.tree.map(lambda *rows: jnp.stack(rows), *map(single, xs)))


@pytest.mark.parametrize("name", ["scan over", "nested scan", "many carried", "while"])
def test_a_batch_of_loops_is_each_loop(name, x64):
    xs = jnp.stack([jnp.asarray(POINT), -jnp.asarray(POINT)])
    compute = third(LOOPS[name])
    batched = jax.jit(jax.vmap(compute), compiler_options=QUICK)(xs)
    single = jax.jit(compute, compiler_options=QUICK)
    assert_close(batched, jnp.stack([single(x) for x in xs]))


def test_a_scan_takes_its_coefficients_one_at_a_time(x64):
    """`None` for zero too: a Tower through a scan is the jet through it."""

    @jax.jit
    def both(x):
        tower, zero = Tower(nested_scan, x), jnp.zeros_like(x)
        pushed = [tower.push_leaves([c])[0] for c in (x, jnp.sin(x), None, None, x)]
        value, series = jet(nested_scan, (x,), ([jnp.sin(x), zero, zero, x],), scaled=True)
        return pushed, [value, *series]

    assert_close(*both(jnp.asarray(POINT)))


@pytest.mark.parametrize("order", [1, 4, 8])
def test_a_scan_walks_its_body_once_an_order(order):
    """The matrix product stands once in each of K + 1 scans; in nested JVPs 2^K times."""
    x = jnp.asarray(POINT)
    f = lambda x: jet(matrices_scanned, (x,), ([x] * order,), scaled=True)  # noqa: E731
    count = count_primitives(f, x)
    assert count["scan"] == count["dot_general"] == order + 1


def test_a_scan_keeps_one_copy_of_what_is_the_same_in_all_iterations():
    """The sine of a constant matrix is kept once; two vectors an iteration are stacked."""
    x, matrix = jnp.asarray(POINT), jnp.eye(4)

    def f(x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(jnp.sin(matrix) @ c), None), x, length=100)[0]

    closed = jax.make_jaxpr(lambda x: jet(f, (x,), ([x],), scaled=True))(x)
    stacks = [v.aval.shape for e in closed.jaxpr.eqns for v in e.outvars if 100 in v.aval.shape]
    assert stacks
    assert max(map(len, stacks)) == 2, stacks


@pytest.mark.parametrize("name", ["while", "cond"])
def test_other_control_flow_walks_its_body_once_for_every_lower_order(name):
    """(K + 1)(K + 2)/2 bodies to order K, not 2^K."""
    x, w, order = jnp.asarray(POINT), jnp.eye(4), 6
    body = lambda x: jnp.tanh(w @ x)  # noqa: E731
    f = {
        "while": lambda x: jax.lax.while_loop(lambda c: c[0] < 9.0, body, x),
        "cond": lambda x: jax.lax.cond(x[0] > 0, body, lambda x: x, x),
    }[name]
    count = count_primitives(lambda x: jet(f, (x,), ([x] * order,), scaled=True), x)
    assert count["dot_general"] == (order + 1) * (order + 2) // 2
