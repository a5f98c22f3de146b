import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import (
    FD_TOLERANCE,
    assert_close,
    assert_unbiased,
    count_primitives,
    fd_jacobian,
    finite_difference,
)
from tenfold.base import (
    Exact,
    Hutchinson,
    gradient_and_laplacian,
    hvp,
    jacobian_diagonal,
    laplacian,
    normal_like,
    normal_log_prob,
    rademacher_like,
    value_and_divergence,
    value_and_jacobian_diagonal,
)

MATRIX = np.array([[1.0, 2.0, -1.0], [0.5, -3.0, 4.0], [2.0, 0.0, 0.7]])
TRACE = -1.3


def linear(t, x, args):
    return jnp.asarray(MATRIX, x.dtype) @ x


def mixing(t, x, args):
    """Not linear, not symmetric, depends on time."""
    a = jnp.asarray(MATRIX, x.dtype)
    return jnp.sin(a @ x + t) * x


def mixing_tree(t, x, args):
    flat = mixing(t, jnp.concatenate([x["a"].ravel(), x["b"][None]]), args)
    return {"a": flat[:2].reshape(2, 1), "b": flat[2]}


def tree_of(x):
    return {"a": x[:2].reshape(2, 1), "b": x[2]}


# ---- Exact ----------------------------------------------------------------------------------


def test_divergence_of_a_linear_field_is_the_trace_of_its_matrix(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    value, divergence = value_and_divergence(linear, 0.0, x)
    assert_close(value, MATRIX @ x)
    assert_close(divergence, jnp.asarray(TRACE))


def test_divergence_matches_the_trace_of_the_full_jacobian_and_of_finite_differences(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    value, divergence = jax.jit(lambda x: value_and_divergence(mixing, 0.3, x))(x)
    jacobian = jax.jacrev(lambda x: mixing(0.3, x, None))(x)
    assert_close(value, mixing(0.3, x, None))
    assert_close(divergence, jnp.trace(jacobian))
    differences = fd_jacobian(lambda x: mixing(0.3, x, None), x)
    assert_close(divergence, jnp.asarray(np.trace(differences)), FD_TOLERANCE)


def test_divergence_of_a_pytree_field_sums_over_all_leaves(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    value, divergence = jax.jit(lambda x: value_and_divergence(mixing_tree, 0.3, x))(tree_of(x))
    assert_close(value, tree_of(mixing(0.3, x, None)))
    assert_close(divergence, value_and_divergence(mixing, 0.3, x)[1])


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_any_event_shape_has_a_divergence(shape, getkey):
    x = jax.random.normal(getkey(), shape)
    _, divergence = value_and_divergence(lambda t, x, a: x**2, 0.0, x)
    assert_close(divergence, jnp.sum(2 * x))


def test_args_reach_the_field_whatever_they_are():
    _, divergence = value_and_divergence(
        lambda t, x, args: args["scale"] * x, 0.0, jnp.ones(3), {"scale": 2.0, "name": "any"}
    )
    assert_close(divergence, jnp.asarray(6.0))


def test_jacobian_diagonal_is_that_of_the_full_jacobian(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    expected = jnp.diagonal(jax.jacrev(lambda x: mixing(0.3, x, None))(x))
    assert_close(jacobian_diagonal(mixing, 0.3, x), expected)
    value, diagonal = value_and_jacobian_diagonal(mixing_tree, 0.3, tree_of(x))
    assert_close(diagonal, tree_of(expected))
    assert_close(value, tree_of(mixing(0.3, x, None)))


def test_divergence_through_a_scan_and_a_while_loop(x64, getkey):
    def looped(t, x, args):
        x = jax.lax.scan(lambda c, _: (jnp.tanh(linear(t, c, args)), None), x, length=2)[0]
        return jax.lax.fori_loop(0, 2, lambda i, c: c + 0.1 * linear(t, c, args), x)

    x = jax.random.normal(getkey(), (3,))
    jacobian = jax.jacfwd(lambda x: looped(0.0, x, None))(x)
    assert_close(value_and_divergence(looped, 0.0, x)[1], jnp.trace(jacobian))


def test_gradient_of_the_divergence_matches_finite_differences(x64, getkey):
    x, v = jax.random.normal(getkey(), (3,)), jax.random.normal(getkey(), (3,))

    def divergence(x):
        return value_and_divergence(mixing, 0.3, x)[1]

    along = jnp.sum(jax.grad(divergence)(x) * v)
    assert_close(along, finite_difference(divergence, x, v), FD_TOLERANCE)


def test_divergence_keeps_float32_under_x64(x64):
    value, divergence = value_and_divergence(mixing, 0.3, jnp.ones(3, jnp.float32))
    assert value.dtype == divergence.dtype == jnp.float32


def test_leaves_of_two_precisions_are_summed_in_the_wider(x64):
    x = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones(3)}
    _, divergence = value_and_divergence(lambda t, x, a: jax.tree.map(jnp.square, x), 0.0, x)
    assert divergence.dtype == jnp.float64
    assert_close(divergence, jnp.asarray(10.0))


# ---- Hutchinson -----------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [rademacher_like, normal_like])
def test_hutchinson_is_unbiased_with_the_variance_of_its_docstring(draw, x64, getkey):
    """n = 20,000 probes; the variance's own standard error is below 3 % for both laws."""
    x = jnp.ones(3)

    def estimate(key):
        return value_and_divergence(linear, 0.0, x, how=Hutchinson(draw(key, x)))[1]

    samples = jax.jit(jax.vmap(estimate))(jax.random.split(getkey(), 20_000))
    assert_unbiased(samples, TRACE)
    symmetric = (MATRIX + MATRIX.T) / 2
    off = np.sum(np.diag(MATRIX) ** 2) if draw is rademacher_like else 0.0
    variance = 2 * (np.sum(symmetric**2) - off)
    deviations = (np.asarray(samples) - TRACE) ** 2
    assert_unbiased(deviations, variance)
    assert np.std(deviations) / np.sqrt(samples.size) < 0.03 * variance


def test_hutchinson_is_the_quadratic_form_of_its_probe(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    probe = normal_like(getkey(), x)
    value, divergence = value_and_divergence(mixing, 0.3, x, how=Hutchinson(probe))
    jacobian = jax.jacrev(lambda x: mixing(0.3, x, None))(x)
    assert_close(divergence, probe @ jacobian @ probe)
    assert_close(value, mixing(0.3, x, None))
    tree = Hutchinson(tree_of(probe))
    assert_close(value_and_divergence(mixing_tree, 0.3, tree_of(x), how=tree)[1], divergence)


def test_rademacher_probes_are_exact_for_a_diagonal_jacobian(getkey):
    x = jax.random.normal(getkey(), (5,))
    how = Hutchinson(rademacher_like(getkey(), x))
    _, divergence = value_and_divergence(lambda t, x, a: jnp.sin(x), 0.0, x, how=how)
    assert_close(divergence, jnp.sum(jnp.cos(x)))


def test_hutchinson_costs_one_jvp():
    x = jnp.ones(3)
    how = Hutchinson(jnp.ones(3))
    dots = count_primitives(lambda x: value_and_divergence(mixing, 0.0, x, how=how), x)
    assert dots["dot_general"] == 2


def test_a_third_way_is_a_module_of_the_users_own():
    class Halved(eqx.Module):
        def __call__(self, field, t, x, args):
            value, divergence = Exact()(field, t, x, args)
            return value, divergence / 2

    _, divergence = value_and_divergence(linear, 0.0, jnp.ones(3), how=Halved())
    assert_close(divergence, jnp.asarray(TRACE / 2))


# ---- Scalar functions -----------------------------------------------------------------------


def quartic(x):
    return jnp.sum(x**4) + x[0] * x[1] ** 2 * x[2]


def test_laplacian_of_a_polynomial_is_its_closed_form(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    gradient, value = jax.jit(lambda x: gradient_and_laplacian(quartic, x))(x)
    assert_close(value, 12 * jnp.sum(x**2) + 2 * x[0] * x[2])
    assert_close(gradient, jax.grad(quartic)(x))
    assert_close(value, jnp.trace(jax.jit(jax.hessian(quartic))(x)))


def test_laplacian_of_a_normal_log_density_is_minus_the_summed_precisions():
    scale = jnp.array([0.5, 1.0, 2.0])
    got = laplacian(lambda x: normal_log_prob(x, 0.3, scale), jnp.array([1.0, -1.0, 0.2]))
    assert_close(got, -jnp.sum(scale**-2))


def test_laplacian_of_a_harmonic_function_vanishes(x64):
    def log_r(x):
        return jnp.log(jnp.sum(x**2)) / 2

    assert_close(laplacian(log_r, jnp.array([0.7, -1.1])), jnp.asarray(0.0))


def test_laplacian_by_probes_is_the_hessians_quadratic_form(x64, getkey):
    x = jax.random.normal(getkey(), (3,))
    probe = normal_like(getkey(), x)
    got = laplacian(quartic, x, how=Hutchinson(probe))
    assert_close(got, probe @ jax.hessian(quartic)(x) @ probe)


def test_hvp_is_the_hessian_times_the_vector(x64, getkey):
    x, v = jax.random.normal(getkey(), (3,)), jax.random.normal(getkey(), (3,))
    product = hvp(quartic, x, v)
    assert_close(product, jax.hessian(quartic)(x) @ v)
    assert_close(product, finite_difference(jax.grad(quartic), x, v), FD_TOLERANCE)
    on_tree = hvp(lambda p: quartic(jnp.append(p["a"].ravel(), p["b"])), tree_of(x), tree_of(v))
    assert_close(on_tree, tree_of(product))


# ---- Refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [Exact(), Hutchinson(jnp.ones(3))])
def test_a_field_of_another_shape_is_refused_with_both_shapes(how):
    for bad in (lambda t, x, a: x[:2], lambda t, x, a: (x,)):
        with pytest.raises(ValueError, match=r"field\(t, x, args\)` must .*`x`, f32\[3\].*f32\["):
            value_and_divergence(bad, 0.0, jnp.ones(3), how=how)


@pytest.mark.parametrize(
    "x", [jnp.arange(3), jnp.ones(3, jnp.complex64), {"a": jnp.ones(2), "b": True}]
)
def test_a_state_that_is_not_of_floats_is_refused(x):
    for operator in (value_and_divergence, value_and_jacobian_diagonal):
        with pytest.raises(ValueError, match="`x` must hold real floating-point arrays"):
            operator(lambda t, x, a: x, 0.0, x)


def test_an_empty_state_is_refused():
    with pytest.raises(ValueError, match="at least one array"):
        value_and_divergence(lambda t, x, a: x, 0.0, ())


@pytest.mark.parametrize(
    "probe", [jnp.ones(2), jnp.ones((1, 3)), (jnp.ones(3),), jnp.ones(3, jnp.float16)]
)
def test_a_probe_unlike_the_state_is_refused(probe):
    with pytest.raises(ValueError, match=r"Hutchinson.probe` must .* `x`, f32\[3\], but has"):
        value_and_divergence(linear, 0.0, jnp.ones(3), how=Hutchinson(probe))


def test_hvp_refuses_a_vector_unlike_the_point():
    with pytest.raises(ValueError, match=r"`v` must have .* f32\[3\], but has f32\[2\]"):
        hvp(quartic, jnp.ones(3), jnp.ones(2))


def test_divergence_integrates_to_the_log_determinant_of_a_linear_flow(x64):
    """d log det(dy/dy0)/dt = div f (Liouville), inside a Diffrax solve; the answer is tr A."""

    def augmented(t, state, args):
        return value_and_divergence(linear, t, state[0], args)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(augmented),
        diffrax.Tsit5(),
        0.0,
        1.0,
        0.1,
        (jnp.ones(3), jnp.asarray(0.0)),
        throw=False,
    )
    assert_close(solution.ys[1][-1], jnp.asarray(TRACE))
