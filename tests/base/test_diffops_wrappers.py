"""The cheap route: who knows its Jacobian's diagonal is asked, through every wrapper."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from helpers import assert_close, count_primitives
from tenfold.base import (
    Hutchinson,
    jacobian_diagonal,
    knows_jacobian_diagonal,
    rademacher_like,
    reversed_time,
    value_and_divergence,
    value_and_jacobian_diagonal,
    vmapped,
)

B, D = 4, 3


class Field(eqx.Module):
    """sin(W x + t) * x."""

    w: jax.Array

    def __call__(self, t, x, args=None):
        return jnp.sin(self.w @ x + t) * x


class Knowing(eqx.Module):
    """The same field, with the protocol; its `__call__` must never be differentiated."""

    w: jax.Array

    def __call__(self, t, x, args=None):
        raise AssertionError("the cheap route was not taken")

    def value_and_jacobian_diagonal(self, t, x, args):
        a = self.w @ x + t
        return jnp.sin(a) * x, jnp.sin(a) + jnp.cos(a) * x * jnp.diagonal(self.w)


BATCHED = {
    "filter_vmap": lambda f: eqx.filter_vmap(f, in_axes=(None, 0, None)),
    "filter_vmap, axes by name": lambda f: eqx.filter_vmap(f, in_axes={"t": None, "args": None}),
    "vmapped": vmapped,
    "filter_jit of vmapped": lambda f: eqx.filter_jit(vmapped(f)),
    "vmapped filter_jit": lambda f: vmapped(eqx.filter_jit(f)),
    "reversed vmapped, twice": lambda f: reversed_time(
        reversed_time(vmapped(f), 0.0, 1.0), 0.0, 1.0
    ),
}
SINGLE = {
    "none": lambda f: f,
    "filter_jit": eqx.filter_jit,
    "filter_jit twice": lambda f: eqx.filter_jit(eqx.filter_jit(f)),
    "filter_checkpoint": eqx.filter_checkpoint,
    "reversed twice": lambda f: reversed_time(reversed_time(f, 0.0, 1.0), 0.0, 1.0),
    "jit of reversed twice": lambda f: eqx.filter_jit(
        reversed_time(eqx.filter_jit(reversed_time(f, 0.0, 1.0)), 0.0, 1.0)
    ),
}


@pytest.fixture
def w(getkey):
    return jax.random.normal(getkey(), (D, D))


@pytest.mark.parametrize("wrap", SINGLE.values(), ids=SINGLE)
def test_a_field_that_knows_its_diagonal_is_asked_through_any_wrapper(wrap, w, getkey):
    x = jax.random.normal(getkey(), (D,))
    field, plain = wrap(Knowing(w)), Field(w)
    assert knows_jacobian_diagonal(field)
    assert_close(value_and_divergence(field, 0.25, x), value_and_divergence(plain, 0.25, x))
    assert_close(jacobian_diagonal(field, 0.25, x), jacobian_diagonal(plain, 0.25, x))


@pytest.mark.parametrize("wrap", BATCHED.values(), ids=BATCHED)
def test_a_batched_field_gives_one_exact_divergence_an_example(wrap, w, getkey):
    x = jax.random.normal(getkey(), (B, D))
    field, plain = wrap(Knowing(w)), Field(w)
    assert knows_jacobian_diagonal(field)
    expected = jax.vmap(lambda x: value_and_divergence(plain, 0.25, x))(x)
    assert expected[1].shape == (B,)
    assert_close(value_and_divergence(field, 0.25, x), expected)
    assert_close(value_and_divergence(wrap(plain), 0.25, x), expected)
    diagonals = jax.vmap(lambda x: value_and_jacobian_diagonal(plain, 0.25, x))(x)
    assert_close(value_and_jacobian_diagonal(field, 0.25, x), diagonals)
    assert_close(value_and_jacobian_diagonal(wrap(plain), 0.25, x), diagonals)


def test_vmap_of_the_operator_keeps_the_cheap_route(w, getkey):
    x = jax.random.normal(getkey(), (B, D))
    got = jax.vmap(lambda x: value_and_divergence(Knowing(w), 0.25, x))(x)
    assert_close(got, value_and_divergence(vmapped(Field(w)), 0.25, x))


@pytest.mark.parametrize("wrap", [*SINGLE.values(), *BATCHED.values()], ids=[*SINGLE, *BATCHED])
def test_the_cheap_route_costs_the_dense_work_of_one_evaluation(wrap, w):
    x = jnp.ones((B, D)) if wrap in BATCHED.values() else jnp.ones(D)

    def dots(field):
        count = count_primitives(lambda x: value_and_divergence(field, 0.25, x), x)
        return count["dot_general"]

    assert dots(wrap(Knowing(w))) == 1
    assert dots(wrap(Field(w))) == 2  # the value, and all D tangents as one product


def test_exact_divergence_of_a_batch_costs_d_tangents_not_batch_times_d(w):
    x = jnp.ones((B, D))

    def field(t, x, args):
        return w @ jnp.sin(w @ x)

    jaxpr = jax.make_jaxpr(lambda x: value_and_divergence(vmapped(field), 0.0, x))(x)
    products = [e.outvars[0].aval.size for e in _equations(jaxpr.jaxpr, "dot_general")]
    assert max(products) == B * D * D


def _equations(jaxpr, name):
    for equation in jaxpr.eqns:
        if equation.primitive.name == name:
            yield equation
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                yield from _equations(value.jaxpr, name)


def test_a_field_jitted_by_jax_keeps_the_cheap_route():
    class Scaled:
        def __call__(self, t, x, args):
            raise AssertionError("the cheap route was not taken")

        def value_and_jacobian_diagonal(self, t, x, args):
            return 2 * x, jnp.full_like(x, 2)

    _, divergence = value_and_divergence(jax.jit(Scaled()), 0.0, jnp.ones(D))
    assert_close(divergence, jnp.asarray(2.0 * D))


def test_an_explicit_hutchinson_is_honoured_by_a_field_that_knows_its_diagonal(w, getkey):
    class Both(eqx.Module):
        def __call__(self, t, x, args):
            return w @ x

        def value_and_jacobian_diagonal(self, t, x, args):
            raise AssertionError("not asked for")

    x = jnp.ones(D)
    probe = rademacher_like(getkey(), x)
    _, divergence = value_and_divergence(Both(), 0.0, x, how=Hutchinson(probe))
    assert_close(divergence, probe @ w @ probe)


def test_a_batched_field_takes_one_probe_an_example(w, getkey):
    x = jax.random.normal(getkey(), (B, D))
    probe = rademacher_like(getkey(), x)
    how = Hutchinson(probe)
    expected = jax.vmap(lambda x, p: value_and_divergence(Field(w), 0.1, x, how=Hutchinson(p)))
    for field in (vmapped(Field(w)), eqx.filter_jit(vmapped(Field(w)))):
        assert_close(value_and_divergence(field, 0.1, x, how=how), expected(x, probe))
    with pytest.raises(ValueError, match="inconsistent sizes"):
        value_and_divergence(vmapped(Field(w)), 0.1, x, how=Hutchinson(probe[0]))


def test_a_batch_may_bring_one_time_an_example(w, getkey):
    x, t = jax.random.normal(getkey(), (B, D)), jnp.linspace(0.0, 1.0, B)
    expected = jax.vmap(lambda t, x: value_and_divergence(Field(w), t, x))(t, x)
    field = vmapped(Knowing(w), t_axis=0)
    assert_close(value_and_divergence(field, t, x), expected)
    assert_close(value_and_divergence(reversed_time(field, 0.0, 1.0), 1 - t, x)[1], -expected[1])
    assert_close(vmapped(Field(w), t_axis=0)(t, x), expected[0])


def test_a_batch_may_share_or_map_its_args(getkey):
    x, scale = jax.random.normal(getkey(), (B, D)), jnp.arange(1.0, B + 1)

    def field(t, x, args):
        return args * x

    shared = value_and_divergence(vmapped(field), 0.0, x, jnp.asarray(2.0))[1]
    assert_close(shared, jnp.full((B,), 2.0 * D))
    mapped = value_and_divergence(vmapped(field, args_axes=0), 0.0, x, scale)[1]
    assert_close(mapped, D * scale)


def test_a_plain_jax_vmap_is_one_field_of_the_whole_state(w, getkey):
    x = jax.random.normal(getkey(), (B, D))
    field = jax.vmap(Field(w), in_axes=(None, 0, None))
    _, total = value_and_divergence(field, 0.25, x)
    assert total.shape == ()
    assert_close(total, jnp.sum(value_and_divergence(vmapped(Field(w)), 0.25, x)[1]))


def test_a_function_that_wraps_a_knowing_field_to_compute_something_else_is_not_seen_through(w):
    """`functools.wraps` sets `__wrapped__` too, so that attribute alone proves nothing."""
    knowing = Knowing(w)

    @functools.wraps(knowing)
    def negated(t, x, args):
        return -Field(w)(t, x, args)

    x = jnp.ones(D)
    assert not knows_jacobian_diagonal(negated)
    expected = jax.tree.map(jnp.negative, value_and_divergence(Field(w), 0.0, x))
    assert_close(value_and_divergence(negated, 0.0, x), expected)


@pytest.mark.parametrize(
    "axes",
    [{"in_axes": (None, 1, None), "out_axes": 1}, {"in_axes": (None, 0, None), "out_axes": 1}],
)
def test_a_filter_vmap_over_other_axes_is_refused_with_the_way_out(axes, w):
    with pytest.raises(ValueError, match=r"axis 0 of its state.*vmapped\(field\)"):
        value_and_divergence(eqx.filter_vmap(Field(w), **axes), 0.0, jnp.ones((D, D)))


def test_wrappers_have_the_method_exactly_if_the_field_inside_has_it(w, getkey):
    x = jax.random.normal(getkey(), (D,))
    assert not hasattr(reversed_time(Field(w), 0.0, 1.0), "value_and_jacobian_diagonal")
    assert not hasattr(vmapped(Field(w)), "value_and_jacobian_diagonal")
    assert not knows_jacobian_diagonal(eqx.filter_jit(vmapped(Field(w))))
    field = reversed_time(Knowing(w), 0.0, 1.0)
    expected = value_and_jacobian_diagonal(reversed_time(Field(w), 0.0, 1.0), 0.2, x)
    assert_close(field.value_and_jacobian_diagonal(0.2, x, None), expected)
    batch = vmapped(Knowing(w)).value_and_jacobian_diagonal(0.8, x[None], None)
    assert_close(batch, jax.tree.map(lambda a: -a[None], expected))


def test_a_diagonal_of_the_wrong_shape_is_refused():
    class Wrong(eqx.Module):
        def __call__(self, t, x, args):
            return x

        def value_and_jacobian_diagonal(self, t, x, args):
            return x, jnp.sum(x)

    with pytest.raises(ValueError, match=r"diagonal that .* f32\[3\], but has f32\[\]"):
        value_and_divergence(Wrong(), 0.0, jnp.ones(D))


def test_the_gradient_by_the_cheap_route_matches_that_by_jvps(w, x64, getkey):
    x = jax.random.normal(getkey(), (D,))

    def loss(field):
        value, divergence = value_and_divergence(eqx.filter_jit(field), 0.25, x)
        return divergence + jnp.sum(value**2)

    w = jnp.asarray(w, jnp.float64)
    got, expected = jax.grad(loss)(Knowing(w)).w, jax.grad(loss)(Field(w)).w
    assert_close(got, expected)


def test_solving_the_reversed_field_returns_to_the_start(x64, w):
    field = Field(jnp.asarray(w, jnp.float64))
    y0 = jnp.array([1.0, -0.5, 0.3])

    @eqx.filter_jit
    def end(field, y):
        controller = diffrax.PIDController(rtol=1e-12, atol=1e-12)
        term, solver = diffrax.ODETerm(field), diffrax.Dopri8()
        solution = diffrax.diffeqsolve(
            term, solver, 0.5, 1.5, 0.1, y, stepsize_controller=controller, throw=False
        )
        return solution.ys[-1]

    assert_close(end(reversed_time(field, 0.5, 1.5), end(field, y0)), y0)


def test_reversed_time_takes_ends_of_another_precision(x64, w):
    ends = jnp.asarray(0.0), jnp.asarray(1.0)
    field = reversed_time(Field(jnp.asarray(w, jnp.float32)), *ends)
    y = field(jnp.asarray(0.3, jnp.float32), jnp.ones(D, jnp.float32))
    assert y.dtype == jnp.float32
