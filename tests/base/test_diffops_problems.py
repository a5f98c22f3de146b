"""The bank of problems is itself right: solutions, derivatives and speeds agree with each other."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close
from problems import PROBLEMS

BANK = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)


@BANK
def test_the_exact_solution_starts_at_y0_and_is_what_a_tight_solve_finds(problem, x64):
    assert_close(problem.exact(problem.t0), np.asarray(problem.y0))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(problem.field),
        diffrax.Dopri8(),
        problem.t0,
        problem.t1,
        0.05,
        problem.start(),
        stepsize_controller=diffrax.PIDController(rtol=1e-12, atol=1e-12),
        throw=False,
    )
    assert_close(solution.ys[-1], problem.exact(problem.t1))


@BANK
def test_the_derivatives_are_those_of_nested_forward_mode(problem, x64):
    state = (jnp.asarray(problem.t0), problem.start())

    def field(t, y):
        return problem.field(t, y, None)

    derivative = field
    for expected in problem.derivatives(5):
        assert_close(derivative(*state), expected)
        derivative = _total_derivative(derivative, field)


def _total_derivative(g, field):
    return lambda t, y: jax.jvp(g, (t, y), (jnp.ones_like(t), field(t, y)))[1]


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.speed], ids=lambda p: p.name)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_speed_is_the_integral_of_the_squared_derivative(problem, order, x64):
    """By Gauss-Legendre with 20 nodes on [0, 1] and nested forward mode at the exact solution."""
    assert (problem.t0, problem.t1) == (0.0, 1.0)

    def field(t, y):
        return problem.field(t, y, None)

    derivative = field
    for _ in range(order - 1):
        derivative = _total_derivative(derivative, field)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    times = (nodes + 1) / 2
    states = jnp.stack([jnp.asarray(problem.exact(t)) for t in times])
    values = jax.vmap(derivative)(jnp.asarray(times), states)
    total = np.sum(weights / 2 * np.mean(np.asarray(values) ** 2, axis=1))
    assert_close(total, np.float64(problem.speed(order)))


def test_the_tangent_numbers_are_those_of_the_encyclopedia():
    tangent = next(p for p in PROBLEMS if p.name == "z' = 1 + z^2")
    assert [int(v[0]) for v in tangent.derivatives(7)] == [1, 0, 2, 0, 16, 0, 272]
