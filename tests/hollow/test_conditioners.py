import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hollow_problems import KINDS, ONE, TWO

from tenfold.hollow import (
    ExclusivePool,
    HollowAttention,
    HollowConv2d,
    MaskedMLP,
    check_hollow,
    fold_masks,
)

ALL = [(n, *k) for n, k in KINDS.items()]
SMALL = [(f"{n}-{i}", *k) for i, d in ((1, ONE), (2, TWO)) for n, k in d.items()]
EVERY = pytest.mark.parametrize(("name", "shape", "make"), ALL, ids=[a[0] for a in ALL])
TINY = pytest.mark.parametrize(("name", "shape", "make"), SMALL, ids=[a[0] for a in SMALL])


def each(make, shape, getkey):
    return eqx.filter_jit(make)(getkey()), jax.random.normal(getkey(), shape)


def assert_hollow(make, shape, getkey):
    """In slope, and in value: x_i = 1e6 must leave no trace in the bits of h_i (float32)."""

    @jax.jit
    def run(key):
        inner, outer = jax.random.split(key)
        conditioner, x = make(inner), jax.random.normal(outer, shape).reshape(-1)
        h = lambda x: conditioner(0.3, x.reshape(shape))  # noqa: E731
        moved = jnp.where(jnp.eye(x.size, dtype=bool), 1e6, x[None])
        return jax.jacfwd(h)(x), jax.lax.map(h, jnp.concatenate([x[None], moved]))

    slopes, values = map(np.asarray, run(getkey()))
    d = slopes.shape[0]
    own, reach = np.eye(d, dtype=bool), np.abs(slopes).max(1)
    assert (reach[own] == 0).all()  # bitwise
    assert (reach[~own] > 0).all()  # nothing is lost
    np.testing.assert_array_equal(values[1:][own], values[0])
    assert np.isfinite(values[0]).all()


def assert_proved(make, shape, getkey):
    conditioner = eqx.filter_eval_shape(make, getkey())  # a proof needs shapes alone
    report = check_hollow(conditioner, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert report.proved, str(report)
    assert report.every_parameter
    assert report.lost == ()
    assert np.isnan(report.measured)
    report.require()


@EVERY
def test_each_row_sees_every_entry_but_its_own(name, shape, make, getkey):
    assert_hollow(make, shape, getkey)


@TINY
def test_one_and_two_entries_work(name, shape, make, getkey):
    assert_hollow(make, shape, getkey)
    assert_proved(make, shape, getkey)


@EVERY
def test_the_proof_holds_for_every_parameter_and_finds_nothing_lost(name, shape, make, getkey):
    assert_proved(make, shape, getkey)


def test_a_wide_enough_net_loses_nothing_at_larger_sizes(getkey):
    conditioner = eqx.filter_eval_shape(MaskedMLP, 40, 2, 78, 2, key=getkey())
    report = check_hollow(conditioner, jax.ShapeDtypeStruct((40,), jnp.float32))
    assert report.proved
    assert report.lost == ()


def test_too_few_hidden_units_are_refused_by_name(getkey):
    with pytest.raises(ValueError, match=r"`width` must be at least 2 \(d - 1\) = 78"):
        MaskedMLP(40, 2, 64, key=getkey())


def test_folded_masks_change_nothing_but_the_work(x64, getkey):
    conditioner, x = each(KINDS["masked"][1], (5,), getkey)
    folded = fold_masks({"net": conditioner})["net"]
    np.testing.assert_array_equal(folded(0.3, x), conditioner(0.3, x))
    text = str(jax.make_jaxpr(lambda c, x: c(0.3, x))(folded, x))
    assert "select_n" not in text
    # Zeros that stand in the weights count, for these values of the weights.
    report = check_hollow(folded, x)
    assert report.proved
    assert not report.every_parameter

    def loss(net, fold):
        return jnp.sum(jnp.sin((fold_masks(net) if fold else net)(0.3, x)))

    plain, through = (jax.grad(loss)(conditioner, f) for f in (False, True))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(through), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["masked", "attention", "pool", "leave-one-out"])
def test_time_and_context_enter(kind, getkey):
    from tenfold import hollow

    made = {
        "masked": lambda: hollow.MaskedMLP(3, 2, 6, context=2, key=getkey()),
        "attention": lambda: hollow.HollowAttention(3, 2, 4, context=2, key=getkey()),
        "pool": lambda: hollow.ExclusivePool(2, 4, context=2, key=getkey()),
        "leave-one-out": lambda: hollow.LeaveOneOutMLP(3, 2, 4, context=2, key=getkey()),
    }[kind]()
    x, z = jnp.ones(3), jnp.array([0.5, -1.0])
    run = eqx.filter_jit(lambda made, t, x, z: made(jnp.asarray(t), x, z))
    base = run(made, jnp.zeros(()), x, z)
    assert jnp.abs(run(made, jnp.full((), 0.5), x, z) - base).max() > 1e-4
    assert jnp.abs(run(made, jnp.zeros(()), x, 2 * z) - base).max() > 1e-4
    with pytest.raises(ValueError, match=r"`args` must be the context, an array of shape \(2,\)"):
        jax.eval_shape(made, 0.0, x)


def test_points_of_a_set_may_be_permuted_and_of_any_number(x64, getkey):
    pool = ExclusivePool(3, 8, features=2, key=getkey())
    x = jax.random.normal(getkey(), (6, 2))
    order = jnp.array([3, 1, 0, 5, 4, 2])
    h = eqx.filter_jit(pool)(0.0, x).reshape(6, 2, 3)
    moved = eqx.filter_jit(pool)(0.0, x[order]).reshape(6, 2, 3)
    np.testing.assert_allclose(moved, h[order], atol=1e-13)
    assert jax.eval_shape(pool, 0.0, x[:3]).shape == (6, 3)


def test_rows_differ_where_all_entries_are_equal(getkey):
    """Without an embedding of the index the shared net would give one h for all i."""
    for name in ("leave-one-out", "attention", "masked"):
        shape, make = KINDS[name]
        h = jax.jit(lambda key: make(key)(0.0, jnp.zeros(shape)))(getkey())  # noqa: B023
        assert np.ptp(h, axis=0).min() > 1e-4


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda k: MaskedMLP(3, 2, 4, key=k), (4,), r"shape \(3,\), got \(4,\)"),
        (lambda k: HollowConv2d(1, 2, 4, key=k), (3, 3), r"images \(1, height, width\)"),
        (lambda k: ExclusivePool(2, 4, key=k), (3, 2), "points of 1 features"),
    ],
)
def test_a_wrong_shape_is_refused(make, x, message, getkey):
    with pytest.raises(ValueError, match=message):
        make(getkey())(0.0, jnp.zeros(x))


def test_wrong_sizes_are_refused(getkey):
    with pytest.raises(ValueError, match="`d_h` must be at least 1"):
        MaskedMLP(3, 0, 4, key=getkey())
    with pytest.raises(ValueError, match="multiple of `heads`"):
        HollowAttention(3, 2, 5, key=getkey())
    with pytest.raises(ValueError, match="`kernel` must be odd"):
        HollowConv2d(1, 2, 4, kernel=2, key=getkey())
