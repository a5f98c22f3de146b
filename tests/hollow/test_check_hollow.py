import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hollow_problems import Leaky

from tenfold.hollow import MaskedMLP, check_hollow

MASK = 1.0 - np.eye(4)


@pytest.mark.parametrize(
    ("how", "operation", "leaks"),
    [
        ("residual", "add", True),
        ("normalised", "reduce_sum", True),
        ("mixed", "dot_general", True),
        ("looped", "add", True),
        # A zero slope is no proof: stop_gradient hides the leak from every Jacobian.
        ("hidden", "add", False),
    ],
)
def test_a_leak_is_refused_with_its_operation_and_line(how, operation, leaks, getkey):
    report = check_hollow(Leaky(MaskedMLP(4, 2, 6, key=getkey()), how), jnp.ones(4))
    assert not report.proved
    assert report.leaks == (0, 1, 2, 3)
    assert report.operation == operation
    assert report.where is not None
    assert "hollow_problems.py" in report.where
    assert (report.measured > 0) == leaks
    with pytest.raises(ValueError, match=rf"Leaky .*h_0 may depend on x_0.*`{operation}`"):
        report.require()


def scanned(t, x, args):
    """Prefix sums by a scan, shifted by one: hollow (and blind to what comes after)."""
    _, before = jax.lax.scan(lambda c, v: (c + v, c), jnp.zeros(()), x)
    return jnp.sin(before)[:, None]


def branched(t, x, args):
    h = jnp.asarray(MASK, x.dtype) @ x
    return jax.lax.cond(t > 0, jnp.sin, jnp.cos, h)[:, None]


def gathered(t, x, args):
    others = np.array([[j for j in range(4) if j != i] for i in range(4)])
    return jax.jit(lambda x: x[others])(x)


def scattered(t, x, args):
    return jnp.broadcast_to(x, (4, 4)).at[np.arange(4), np.arange(4)].set(0.0)


def sorted_rows(t, x, args):
    rows = jnp.where(np.eye(4, dtype=bool), 0, jnp.broadcast_to(x, (4, 4)))
    return jnp.sort(rows, axis=1)


@jax.custom_jvp
def softened(x):
    return jax.nn.softplus(x)


softened.defjvps(lambda dx, ans, x: jax.nn.sigmoid(x) * dx)


def called(t, x, args):
    inside = jax.checkpoint(lambda x: softened(jnp.asarray(MASK, x.dtype) * x[None]))
    return jax.nn.relu(inside(x)) * jnp.asarray(MASK, x.dtype)


def iterated(t, x, args):
    h = jnp.asarray(MASK, x.dtype) @ x
    return jax.lax.while_loop(lambda c: c[0] < t, lambda c: (c[0] + 1, jnp.sin(c[1])), (0.0, h))[1][
        :, None
    ]


def stacked(t, x, args):
    return jnp.stack([x[1:].sum(), x[0] * x[2] * x[3], x[:2] @ x[:2] * x[3], jnp.cumsum(x)[2]])[
        :, None
    ]


@pytest.mark.parametrize(
    "f",
    [scanned, branched, gathered, scattered, sorted_rows, called, iterated, stacked],
    ids=lambda f: f.__name__,
)
def test_programs_of_every_kind_are_proved(f):
    report = check_hollow(f, jnp.arange(4.0))
    assert report.proved, str(report)
    assert report.name == f.__name__


def test_what_is_lost_is_listed():
    report = check_hollow(scanned, jnp.arange(4.0))
    assert report.lost == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def decided(t, x, args):
    h = jnp.asarray(MASK, x.dtype) @ x
    return jax.lax.cond(x[2] > 0, jnp.sin, jnp.cos, h)[:, None]


def subtracted(t, x, args):
    return (jnp.sum(x) - x)[:, None]


def reduced(t, x, args):
    """A reduction with a computation of its own, whose jaxpr is not that of a call."""
    return jax.lax.reduce(jnp.asarray(MASK, x.dtype) * x[None] + x[None], np.float32(0),
                          lambda a, b: jnp.maximum(a, b) + b, (1,))[:, None]  # fmt: skip


def solved(t, x, args):
    h = jnp.asarray(MASK, x.dtype) @ x
    return jnp.linalg.solve(jnp.eye(4) + 0.1 * jnp.asarray(MASK, x.dtype), h)[:, None]


def filled(t, x, args):
    """Gathers beyond the edge give a constant that is not 0: what it multiplies stays."""
    far = x.at[np.array([7, 7, 7, 7])].get(mode="fill", fill_value=2.0)
    return (far * x)[:, None]


@pytest.mark.parametrize("f", [reduced, solved, filled], ids=lambda f: f.__name__)
def test_what_is_not_understood_is_not_proved(f):
    report = check_hollow(f, jnp.arange(1.0, 5.0))
    assert not report.proved
    assert report.leaks == (0, 1, 2, 3)


def test_a_branch_that_is_chosen_by_an_entry_leaks_it():
    report = check_hollow(decided, jnp.arange(4.0))
    assert report.leaks == (2,)
    assert report.operation == "cond"


def test_a_cancelling_difference_is_not_proved_though_its_slope_is_zero():
    report = check_hollow(subtracted, jnp.arange(4.0))
    assert not report.proved
    assert report.measured == 0
    assert "could not be proved" in str(report)


class Weighted(eqx.Module):
    weight: jax.Array

    def __call__(self, t, x, args=None):
        return (self.weight @ x)[:, None]


def test_zeros_among_the_parameters_count_for_the_present_values_only():
    report = check_hollow(Weighted(jnp.asarray(MASK, jnp.float32)), jnp.arange(4.0))
    assert report.proved
    assert not report.every_parameter
    assert "for the present values" in str(report)
    full = check_hollow(Weighted(jnp.ones((4, 4))), jnp.arange(4.0))
    assert not full.proved
    assert full.operation == "dot_general"


def test_a_wrong_shape_is_refused_by_name():
    with pytest.raises(ValueError, match=r"`conditioner` must return .*\(4, d_h\)"):
        check_hollow(lambda t, x, args: x, jnp.ones(4))
    with pytest.raises(ValueError, match="`x` must hold real floating-point"):
        check_hollow(subtracted, jnp.arange(4))


def test_it_runs_while_another_function_is_traced(getkey):
    conditioner = MaskedMLP(3, 2, 4, key=getkey())

    @jax.jit
    def f(x):
        assert check_hollow(conditioner, jnp.ones(3)).proved
        return x

    f(jnp.ones(3))
