"""What Taylor mode costs, in equations of the jaxpr: nothing here looks at a clock."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from helpers import count_primitives
from tenfold.base.jet import Tower, jet

X = jnp.asarray([0.2, 0.7, -0.4])


def pushed(f, rows):
    """f's coefficients along a curve given by `rows` of leaves, `None` for zero."""

    def run(x):
        tower = Tower(f, *[x for _ in rows[0]])
        return [tower.push_leaves([x if u is X else u for u in row]) for row in rows]

    return run


def equations(f, *args):
    return count_primitives(f, *args).total()


def curve(x, order):
    return [x] * order


NETWORK = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "sqrt": lambda x: jnp.sqrt(1 + x * x),
    "x**5": lambda x: x**5,
    "x**2.5": lambda x: jnp.abs(x) ** 2.5,
    "quotient": lambda x: jnp.exp(x) / (1 + x * x),
    "softmax": jax.nn.softmax,
}


@pytest.mark.parametrize("f", NETWORK.values(), ids=NETWORK)
def test_the_program_grows_at_most_quadratically_in_the_order(f):
    """Exponent of the number of equations between K = 8 and K = 16 (nested JVPs: 256-fold)."""
    counts = [
        equations(lambda x, k=k: jet(f, (x,), (curve(x, k),), scaled=True), X) for k in (4, 8, 16)
    ]
    slopes = np.diff(np.log2(counts))
    assert slopes.max() <= 2.0, counts


def test_time_to_the_second_power_has_no_third_coefficient():
    """t = t_0 + s: t^2 ends at s^2, so orders 3 to 8 cost nothing."""
    rows = [[X], [X]] + [[None]] * 7
    for f in (lambda t: t**2, lambda t: t * t, jnp.square):
        short, long = pushed(f, rows[:3]), pushed(f, rows)
        assert equations(long, X) == equations(short, X)
        assert [c[0] is None for c in long(X)] == [False] * 3 + [True] * 6


def test_time_alone_costs_one_equation_an_order_or_none():
    """Linear functions of t stop at the first order."""
    rows = [[X], [X]] + [[None]] * 7
    f = lambda t: jnp.sum(3.0 * t.reshape(3, 1) + 1.0) - t  # noqa: E731
    assert equations(pushed(f, rows), X) == equations(pushed(f, rows[:2]), X)


def test_constants_are_never_multiplied():
    """sin of a constant, and its product with another one, stay at order 0."""

    def f(x):
        constant = jnp.sin(jnp.arange(3.0)) * jnp.cos(jnp.arange(3.0))
        return constant * x

    count = count_primitives(lambda x: jet(f, (x,), (curve(x, 8),), scaled=True), X)
    assert count["sin"] == count["cos"] == 1
    assert count["mul"] == 1 + 9, "one of constants, and one an order"


def test_a_moving_argument_times_a_still_one_is_one_product_an_order():
    """u_0 w_k alone when u moves no more after order 0: not k + 1 products."""
    rows = [[X, X]] + [[None, X]] * 8
    count = count_primitives(pushed(jnp.multiply, rows), X)
    assert count["mul"] == 9


def test_dead_code_costs_nothing():
    """An intermediate that no output needs is not propagated."""

    def wasteful(x):
        jnp.sin(jnp.exp(x))
        return x * x

    def count(f):
        return equations(lambda x: jet(f, (x,), (curve(x, 6),), scaled=True), X)

    assert count(wasteful) == count(lambda x: x * x)


def test_cross_products_of_a_square_are_computed_once():
    """x^2 at order k: floor(k/2) + 1 products, not k + 1."""
    rows = [[X]] * 9
    count = count_primitives(pushed(jnp.square, rows), X)
    products = count["mul"] - sum(1 for k in range(1, 9))  # one doubling an order
    assert products + count["square"] <= sum(k // 2 + 1 for k in range(9))


MATRIX = 4 * jnp.eye(3)
SOLVES = {
    "custom_linear_solve": lambda x: jnp.linalg.solve(MATRIX + jnp.outer(x, x), x),
    "triangular_solve": lambda x: jax.scipy.linalg.solve_triangular(MATRIX + jnp.outer(x, x), x),
    "linear_solve": lambda x: (
        lx.linear_solve(lx.MatrixLinearOperator(MATRIX + jnp.outer(x, x)), x, throw=False).value
    ),
}


@pytest.mark.parametrize("name", SOLVES)
def test_a_linear_system_is_solved_once_an_order(name):
    """x_k from A_0: through JVPs alone, those of triangular systems would double at each order."""
    count = count_primitives(lambda x: jet(SOLVES[name], (x,), ([x] * 6,), scaled=True), X)
    assert count[name] == 7


@pytest.mark.parametrize("order", [1, 4, 8])
def test_a_linear_map_is_applied_once_an_order(order):
    """No more matrix products than coefficients."""
    matrix = jnp.eye(3)
    count = count_primitives(
        lambda x: jet(lambda x: jnp.tanh(matrix @ x), (x,), (curve(x, order),), scaled=True), X
    )
    assert count["dot_general"] == order + 1
