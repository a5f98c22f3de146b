from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hollow_problems import Leaky
from jax.experimental import io_callback

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


def applied(t, x, args):
    """A scatter of zeros, with sin for what becomes of the entries there."""
    return x.at[jnp.arange(4)].apply(jnp.sin)[:, None]


def stored(t, x, args):
    ref = jax.new_ref(jnp.zeros(4))
    jax.jit(lambda ref, x: ref.__setitem__(..., x))(ref, x)
    return ref[...][:, None]


def told_the_host(t, x, args):
    return io_callback(lambda: np.ones((4, 1), np.float32), jax.ShapeDtypeStruct((4, 1), x.dtype))


def of_none(t, x, args):
    """The product of no entries is 1, and hides nothing."""
    return (jnp.prod(x[:0]) * x)[:, None]


NOT_UNDERSTOOD = [reduced, solved, filled, applied, stored, told_the_host, of_none]


@pytest.mark.parametrize("f", NOT_UNDERSTOOD, ids=lambda f: f.__name__)
def test_what_is_not_understood_is_not_proved(f):
    like = jax.ShapeDtypeStruct((4,), jnp.float32)
    report = check_hollow(f, jnp.arange(1.0, 5.0) if f in NOT_UNDERSTOOD[:3] else like)
    assert not report.proved
    assert report.leaks == (0, 1, 2, 3)


def test_of_several_updates_of_an_entry_any_may_stay():
    like = jax.ShapeDtypeStruct((4,), jnp.float32)
    twice = np.array([1, 1, 0, 0])

    def assert_leaks(f, leaks):
        assert check_hollow(lambda t, x, args: f(x)[:, None], like).leaks == leaks

    assert_leaks(lambda x: jnp.zeros(4).at[twice].set(x), (0, 1))
    # Zeros they may all be, and then it does not matter which stays.
    assert_leaks(lambda x: x.at[np.array([1, 1, 3])].set(0), (0, 2))
    assert_leaks(lambda x: jnp.ones(4).at[twice].set(0) * x, (2, 3))
    assert_leaks(lambda x: jnp.zeros(4).at[np.array([1, 1])].set(np.array([0.0, 1.0], "f")) * x,
                 (1,))  # fmt: skip
    assert_leaks(lambda x: jnp.zeros(4).at[np.array([1, 0, 3, 2])].set(x), ())


@jax.custom_vjp
def backward_only(x):
    return jnp.tanh(x)


backward_only.defvjp(lambda x: (jnp.tanh(x), x), lambda x, slope: (slope * (1 - jnp.tanh(x) ** 2),))


@pytest.mark.parametrize(
    ("f", "proved", "measured"),
    [
        (lambda t, x, a: backward_only(jnp.asarray(MASK, x.dtype) @ x)[:, None], True, 0.0),
        (lambda t, x, a: backward_only(x)[:, None], False, 1.0),
        (lambda t, x, a: backward_only(jnp.ones(4).at[jnp.arange(4)].mul(x))[:, None], False, None),
    ],
)
def test_a_program_without_a_forward_derivative_is_checked(f, proved, measured):
    report = check_hollow(f, jnp.zeros(4))
    assert report.proved == proved
    assert np.isnan(report.measured) if measured is None else report.measured == measured


@jax.custom_jvp
def straight(x):
    return jnp.asarray(MASK, x.dtype) @ x


straight.defjvp(lambda x, dx: (straight(*x), dx[0]))


def test_a_slope_is_never_called_hollow():
    """A rule of one's own may let in what the function does not."""
    report = check_hollow(lambda t, x, args: straight(x)[:, None], jnp.ones(4))
    assert not report.proved
    assert report.leaks == (0, 1, 2, 3)
    with pytest.raises(
        ValueError, match=r"leaks: .* = 1, at h_0 and 3 others, though no operation"
    ):
        report.require()


def test_every_number_in_args_may_change():
    def scaled(t, x, args):
        return (args["by"] * x)[:, None]

    def repeated(t, x, args):
        return jnp.tile(jnp.asarray(MASK, x.dtype) @ x, (args["by"], 1)).T * args["scale"]

    x = jnp.ones(4)
    for by in (0.0, 0, np.float32(0), np.zeros(4, np.float32), jnp.zeros(())):
        assert not check_hollow(scaled, x, args={"by": by}).proved
    report = check_hollow(repeated, x, args={"by": 2, "scale": 0.0})  # a size has to be known
    assert report.proved
    assert not report.every_parameter
    with pytest.raises(TypeError):
        check_hollow(repeated, x, args={"by": 2.0, "scale": 0.0})


CLOSED_OVER = jnp.asarray(MASK, jnp.float32)


def test_what_jax_arrays_are_closed_over_counts_for_the_present_values_only():
    class Shifted(eqx.Module):
        shift: jax.Array
        mask: Any = eqx.field(static=True)

        def __call__(self, t, x, args=None):
            return (jax.jit(lambda x: self.mask() @ x)(x) + self.shift)[:, None]

    like = jax.ShapeDtypeStruct((4,), jnp.float32)
    for mask, every in ((lambda: CLOSED_OVER, False), (lambda: MASK.astype(np.float32), True)):
        report = check_hollow(Shifted(jnp.ones(4), mask), like)
        assert report.proved
        assert report.every_parameter == every


def test_more_than_64_cases_are_told_apart():
    def chosen(t, x, args):
        cases = [lambda v, k=k: v if k == 69 else 0 * v + k for k in range(70)]
        which = jnp.array([1, 69, 2, 68])
        return jax.vmap(lambda i, v: jax.lax.switch(i, cases, v))(which, x)[:, None]

    assert check_hollow(chosen, jnp.ones(4)).leaks == (1,)


def brute(f, d):
    """Which entries move which, by moving them: (d, d)."""
    x = jax.random.normal(jax.random.key(0), (d,))
    moved = jnp.where(jnp.eye(d, dtype=bool), x + 100, x[None])
    rows = jax.jit(lambda xs: jax.lax.map(lambda x: f(0.0, x, None), xs))
    values = np.asarray(rows(jnp.concatenate([x[None], moved])))
    return (values[1:] != values[0]).any(2).T


def test_sets_of_more_inputs_than_a_word_has_bits():
    """d = 70: products of rows and columns of many kinds, a convolution, windows, routes."""
    bits = np.random.default_rng(0).random((3, 70, 70)) < 0.05
    masks = bits.astype(np.float32)

    def f(t, x, args):
        rows = jnp.asarray(masks[0]) * x[None]  # (70, 70), many kinds
        mixed = jnp.einsum("ij,kj->ik", rows, jnp.asarray(masks[1])) * jnp.asarray(masks[2])
        ahead = jax.lax.conv_general_dilated(x[None, None], jnp.ones((2, 1, 3)), (1,), [(3, -1)])
        window = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (1,), [(9, -8)])
        return jnp.concatenate([mixed, jnp.roll(ahead[0].T, 5, axis=0), window[:, None]], axis=1)

    report = check_hollow(f, jax.ShapeDtypeStruct((70,), jnp.float32))
    moves = brute(f, 70)
    off = ~np.eye(70, dtype=bool)
    assert set(report.lost) == set(map(tuple, np.argwhere(~moves & off)))
    assert report.leaks == tuple(np.flatnonzero(np.diagonal(moves)))


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
