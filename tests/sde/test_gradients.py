"""Ways to differentiate a solve: against each other, finite differences, and what each refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import FD_TOLERANCE, TOLERANCE, finite_difference
from sde.gradient_problems import gradients, loss, relative_error, trained
from sde.sde_problems import GBM, Scaled
from tenfold import sde
from tenfold.sde import Backsolve, Checkpoint, Exact, Store

TS = jnp.array([0.0, 0.4, 1.0], jnp.float32)


def end(equation, z0, gradient, ts=TS, **options):
    return jnp.sum(
        sde.sdesolve(equation, z0, ts, jax.random.key(3), gradient=gradient, **options).zs
    )


def random_direction(tree):
    """One random number for each that can be differentiated; None where there is none."""
    leaves, structure = jax.tree.flatten(eqx.filter(tree, eqx.is_inexact_array))
    rng = np.random.default_rng(0)
    return structure.unflatten([jnp.asarray(rng.standard_normal(x.shape)) for x in leaves])


@pytest.mark.parametrize("noise", ["diagonal", "scalar", "additive", "general"])
def test_exact_gradient_agrees_with_finite_differences(noise, x64):
    """Along one random direction of fields, cost, args, context and z0 at once."""
    p = trained(noise, "ito")
    direction = random_direction(p)
    moving, fixed = eqx.partition(p, eqx.is_inexact_array)
    value = eqx.filter_jit(lambda moving: loss(eqx.combine(moving, fixed), Store()))
    expected = finite_difference(value, moving, direction, 1e-4)
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), gradients(p, Exact()), direction)
    found = sum(jax.tree.leaves(products))
    np.testing.assert_allclose(found, expected, rtol=FD_TOLERANCE)


@pytest.mark.parametrize("method", [sde.EulerMaruyama(), sde.Milstein(), sde.Midpoint()])
def test_checkpoint_gradient_equals_stored_for_any_scheme(method, x64):
    p = trained("diagonal", "ito")
    checkpoint = gradients(p, Checkpoint(every=2), method=method)
    stored = gradients(p, Store(), method=method)
    assert relative_error(checkpoint, stored) < TOLERANCE["float64"]


@pytest.mark.parametrize("gradient", [Exact(), Backsolve()])
def test_python_numbers_in_fields_and_args_are_constants(gradient):
    """They get no gradient and don't disturb that of the arrays beside them."""

    class Field(eqx.Module):
        rate: jax.Array
        power: float
        offset: float

        def __call__(self, t, z, args):
            return args["scale"] * self.rate * z**self.power + args["gain"] + self.offset

    def make(gain):
        field = Field(jnp.float32(0.3), 1.5, 0.1)
        return field, {"gain": gain, "scale": 0.5, "count": 3}

    def total(field, args):
        equation = sde.SDE(field, Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito")
        return end(equation, jnp.ones(2), gradient, args=args, substeps=4)

    found = eqx.filter_grad(lambda both: total(*both))(make(0.2))
    assert found[0].power is None
    assert found[0].offset is None
    assert found[1]["gain"] is None
    assert float(found[0].rate) > 0
    as_array = eqx.filter_grad(lambda both: total(*both))(make(jnp.float32(0.2)))
    np.testing.assert_allclose(as_array[0].rate, found[0].rate, rtol=1e-6)
    assert float(as_array[1]["gain"]) > 0


@pytest.mark.parametrize("gradient", [Exact(), Backsolve()])
def test_a_python_number_that_is_differentiated_itself_gets_its_gradient(gradient):
    """`jax.grad(f)(0.3)` makes it an array before the solve sees it."""

    def of_rate(rate):
        equation = sde.SDE(Scaled(rate), Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito")
        return end(equation, jnp.ones(2), gradient, substeps=20)

    def of_args(rate):
        field = lambda t, z, rate: rate * z  # noqa: E731
        equation = sde.SDE(field, Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito")
        return end(equation, jnp.ones(2), gradient, substeps=20, args=rate)

    by_field, by_args = jax.grad(of_rate)(0.3), jax.grad(of_args)(0.3)
    np.testing.assert_allclose(by_field, by_args, rtol=1e-6)
    assert float(by_field) > 1


@pytest.mark.parametrize("gradient", [Exact(), Backsolve()])
def test_forward_mode_through_a_custom_gradient_raises_type_error(gradient):
    equation = sde.SDE(
        Scaled(jnp.float32(0.1)), Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito"
    )
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda z: end(equation, z, gradient), (jnp.ones(2),), (jnp.ones(2),))


TRANSFORMS = {
    "grad": lambda f: jax.grad(f),
    "grad of jit": lambda f: jax.grad(jax.jit(f)),
    "jit of grad": lambda f: jax.jit(jax.grad(f)),
    "jit": lambda f: jax.jit(f),
    "vmap": lambda f: jax.vmap(lambda c: f(c[0])),
    "vmap of grad": lambda f: jax.vmap(lambda c: jax.grad(f)(c[0])),
}


def closing(c, gradient):
    field = lambda t, z, args: c * z  # noqa: E731
    equation = sde.SDE(field, Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito")
    return end(equation, jnp.ones(2), gradient)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("gradient", [Exact(), Backsolve()])
def test_closing_over_a_traced_array_is_refused(gradient, transform):
    """It would get no gradient, silently; the message says what to do instead."""
    run = TRANSFORMS[transform](lambda c: closing(c, gradient))
    c = jnp.full((1, 1), 0.3) if "vmap" in transform else jnp.float32(0.3)
    with pytest.raises(ValueError, match=r"closes over a traced array, float32\[\].*`args`"):
        run(c)


@pytest.mark.parametrize("constant", [0.3, np.float32(0.3), jnp.float32(0.3)])
def test_constants_may_be_closed_over(constant):
    """Numbers, NumPy's and JAX's concrete arrays, under jit and grad."""

    def total(z0):
        field = lambda t, z, args: constant * z  # noqa: E731
        equation = sde.SDE(field, Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito")
        return end(equation, z0, None)

    named = sde.SDE(
        Scaled(jnp.float32(0.3)), Scaled(jnp.float32(0.2)), noise="diagonal", kind="ito"
    )
    expected = jax.grad(lambda z0: end(named, z0, None))(jnp.ones(2))
    np.testing.assert_allclose(jax.jit(jax.grad(total))(jnp.ones(2)), expected, rtol=1e-6)


@pytest.mark.parametrize("gradient", [Exact(), Backsolve()])
def test_differentiating_the_times_is_refused_where_it_has_no_derivative(gradient):
    """Not a silent zero; `Store` has it."""
    equation = GBM.sde()
    z0 = jnp.ones(1)
    with pytest.raises(ValueError, match="with respect to times"):
        jax.grad(lambda ts: end(equation, z0, gradient, ts))(TS)
    with pytest.raises(ValueError, match="with respect to times"):
        jax.jit(jax.grad(lambda ts: end(equation, z0, gradient, ts)))(TS)
    assert np.all(jax.grad(lambda ts: end(equation, z0, Store(), ts))(TS) != 0)
    stopped = jax.grad(lambda ts: end(equation, z0, gradient, jax.lax.stop_gradient(ts)))
    np.testing.assert_array_equal(stopped(TS), 0)
