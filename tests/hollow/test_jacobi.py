import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

from helpers import assert_close
from tenfold.hollow import Functional, JacobiNewton, JacobiOnly, NewtonKrylov, jacobi_newton

STIFF = -1000 * np.eye(3) + np.array([[0, 1, -1], [1, 0, 2], [0, 1, 0.0]])
DELTA = np.array([1.0, 2.0, 3.0])
GAMMA = 0.05
TURNING = np.array([[1.0, 3.0], [-3.0, 1.0]])
"""rho(I - D^-1 J) = 3: Jacobi diverges, though the matrix is well conditioned."""

OKAY = optx.RESULTS.successful
DIVERGED = optx.RESULTS.nonlinear_divergence


def linear(x, args):
    """G = x - delta - gamma (A x + 1) and its diagonal."""
    a, gamma = args
    return x - DELTA - gamma * (a @ x + 1), 1 - gamma * jnp.diag(a)


def turning(x, args):
    return jnp.asarray(TURNING) @ x - 1, jnp.diag(jnp.asarray(TURNING))


def steep(x, args):
    """arctan: undamped Newton runs away from |x| > 1.39."""
    return jnp.arctan(x), 1 / (1 + x**2)


def rootless(x, args):
    return x**2 + 1, 2 * x


def run(both, solver, x0, args=None, max_steps=50):
    return optx.root_find(
        lambda x, args: both(x, args)[0],
        solver,
        x0,
        args,
        options={"value_and_diagonal": both},
        max_steps=max_steps,
        throw=False,
    )


def test_stiff_with_weak_coupling_takes_about_six_sweeps(x64):
    args = (jnp.asarray(STIFF), GAMMA)
    found = jax.jit(lambda a: jacobi_newton(linear, jnp.asarray(DELTA), a, rtol=1e-13, atol=0.0))(
        args
    )
    expected = np.linalg.solve(np.eye(3) - GAMMA * STIFF, DELTA + GAMMA)
    np.testing.assert_allclose(found.value, expected, rtol=1e-13)
    assert found.result == OKAY
    assert int(found.stats["evaluations"]) <= 8


def test_functional_iteration_diverges_there_and_says_so(x64):
    found = run(linear, Functional(), jnp.asarray(DELTA), (jnp.asarray(STIFF), GAMMA))
    assert found.result == DIVERGED


def test_functional_iteration_contracts_where_gamma_is_small(x64):
    args = (jnp.asarray(STIFF), 2e-4)
    found = run(linear, Functional(1e-10, 1e-12), jnp.asarray(DELTA), args)
    expected = np.linalg.solve(np.eye(3) - 2e-4 * STIFF, DELTA + 2e-4)
    assert_close(found.value, expected, 1e-9)


def test_a_diagonal_jacobian_takes_one_step(x64):
    args = (jnp.diag(jnp.array([-1e4, -1.0, 3.0])), GAMMA)
    found = run(linear, JacobiNewton(1e-12, 1e-14), jnp.asarray(DELTA), args)
    assert found.result == OKAY
    assert int(found.stats["evaluations"]) == 2  # the second to see that it is there


def test_damping_reaches_a_root_that_undamped_steps_run_away_from(x64):
    start = jnp.array([3.0, -2.0, 0.1])
    found = run(steep, JacobiNewton(1e-10, 1e-12), start)
    assert found.result == OKAY
    assert_close(found.value, jnp.zeros(3))
    assert run(steep, JacobiOnly(1e-10, 1e-12), start).result != OKAY


@pytest.mark.parametrize("solver", [JacobiNewton, NewtonKrylov])
def test_newton_krylov_takes_over_where_jacobi_diverges(solver, x64):
    found = run(turning, solver(1e-10, 1e-12), jnp.zeros(2))
    assert found.result == OKAY
    assert_close(found.value, np.linalg.solve(TURNING, np.ones(2)))
    assert run(turning, JacobiOnly(1e-10, 1e-12), jnp.zeros(2)).result == DIVERGED


@pytest.mark.parametrize("size", [30, 60])
def test_success_means_a_root_where_gmres_is_needed(size, x64):
    """Dense matrices of normal numbers, whose diagonal says nothing."""
    a = np.random.default_rng(size).standard_normal((4, size, size))
    solve = lambda a: jacobi_newton(lambda x, a: (a @ x - 1, jnp.diag(a)), jnp.zeros(size), a)  # noqa: E731
    found = jax.jit(jax.vmap(solve))(jnp.asarray(a))
    assert bool(jnp.all(found.result == OKAY))
    assert_close(jnp.einsum("nij,nj->ni", a, found.value), jnp.ones((4, size)), 1e-3)


def test_a_linear_solve_that_fails_is_never_a_success(x64):
    """One product of GMRES a step is not enough for 30 entries."""
    a = np.random.default_rng(0).standard_normal((30, 30))
    weak = lx.GMRES(1e-4, 1e-4, restart=1, max_steps=2)
    both = lambda x, args: (a @ x - 1, jnp.diag(jnp.asarray(a)))  # noqa: E731
    found = run(both, JacobiNewton(linear_solver=weak), jnp.zeros(30))
    assert found.result != OKAY


def test_a_zero_on_the_diagonal_is_left_to_newton_krylov(x64):
    """x_2 = 1, x_1 + x_2 = 3: no entry of the diagonal helps the first equation."""
    both = lambda x, args: (jnp.stack([x[1] - 1, x[0] + x[1] - 3]), jnp.array([0.0, 1.0]))  # noqa: E731
    for solver in (JacobiNewton(), NewtonKrylov()):
        found = run(both, solver, jnp.zeros(2))
        assert found.result == OKAY
        assert_close(found.value, jnp.array([2.0, 1.0]))
    assert run(both, JacobiOnly(), jnp.zeros(2)).result != OKAY


def test_a_start_that_is_a_root_is_taken(x64):
    """x^2 = 0 from 0, where the diagonal is 0 too."""
    found = jacobi_newton(lambda x, args: (x**2, 2 * x), jnp.zeros(2))
    assert found.result == OKAY
    assert int(found.stats["evaluations"]) == 1


def test_evaluations_of_newton_krylov_are_counted(x64):
    """Two points, and at each GMRES: it linearises, makes a residual after each of its three steps,
    spans two spaces of two products, and its answer is checked."""
    found = run(turning, NewtonKrylov(1e-10, 1e-12), jnp.zeros(2))
    assert int(found.stats["num_steps"]) == 2
    assert int(found.stats["evaluations"]) == 2 * (1 + 1 + 3 + 2 * 2 + 1)


def test_without_a_root_the_result_says_so(x64):
    found = run(rootless, JacobiNewton(), jnp.array([0.7]))
    assert found.result != OKAY


def test_gradients_are_those_of_the_root(x64):
    """Implicit: of the solution of (I - g A) x = delta + g with respect to A and g."""

    def solved(args):
        return jnp.sum(jacobi_newton(linear, jnp.asarray(DELTA), args, rtol=1e-13).value ** 2)

    def dense(args):
        a, gamma = args
        return jnp.sum(jnp.linalg.solve(jnp.eye(3) - gamma * a, DELTA + gamma) ** 2)

    args = (jnp.asarray(STIFF), jnp.asarray(GAMMA))
    assert_close(*(jax.jit(jax.grad(f))(args) for f in (solved, dense)))


def test_what_the_function_closes_over_has_gradients(x64):
    def root(a):
        return jacobi_newton(lambda x, args: (x**2 - a, 2 * x), jnp.ones(()), rtol=1e-12).value

    assert_close(jax.grad(root)(4.0), jnp.asarray(0.25))


def test_pytrees_vmap_and_a_diagonal_that_is_not_given(x64):
    def fn(x, args):
        return {"a": x["a"] ** 3 - args, "b": x["b"] - 2 * args + 0.1 * x["a"]}

    def solve(args):
        start = {"a": jnp.ones(()), "b": jnp.ones(())}
        return optx.root_find(fn, JacobiNewton(1e-12, 1e-12), start, args, throw=False).value

    found = jax.jit(jax.vmap(solve))(jnp.array([8.0, 27.0]))
    assert_close(found, {"a": jnp.array([2.0, 3.0]), "b": jnp.array([15.8, 53.7])})


def test_wrong_input_is_refused_by_name():
    ok = jnp.ones(2)
    for both, words in {
        (lambda x, args: x): "`value_and_diagonal` must return the pair",
        (lambda x, args: (x[:1], x)): "the G of `value_and_diagonal` must have",
        (lambda x, args: (x, jnp.sum(x))): "the diagonal of `value_and_diagonal` must have",
    }.items():
        with pytest.raises(ValueError, match=words):
            jacobi_newton(both, ok)
    with pytest.raises(ValueError, match="`x0` must be of float32 or float64, got bfloat16"):
        jacobi_newton(lambda x, args: (x, x), jnp.ones(2, jnp.bfloat16))


def test_auxiliary_output_is_passed_on():
    found = optx.root_find(
        lambda x, args: (x - 2.0, x + 1), JacobiNewton(), jnp.ones(()), has_aux=True, throw=False
    )
    assert_close(found.aux, jnp.asarray(3.0))
