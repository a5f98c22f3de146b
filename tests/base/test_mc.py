import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_unbiased
from tenfold.base import (
    logmeanexp,
    moments_init,
    moments_merge,
    moments_of,
    moments_update,
    normal_like,
    rademacher_like,
)

# ---- logmeanexp -----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), ()])
def test_logmeanexp_is_the_log_of_the_mean_of_the_exponentials(axis, x64, getkey):
    a = jax.random.normal(getkey(), (2, 3, 4))
    assert_close(logmeanexp(a, axis), np.log(np.mean(np.exp(a), axis)))


def test_logmeanexp_neither_overflows_nor_underflows():
    a = jnp.array([1e4, 1e4 - 1.0])
    expected = 1e4 + np.log((1 + np.exp(-1.0)) / 2)
    assert_close(logmeanexp(a), np.float32(expected))
    assert_close(logmeanexp(a - 2e4), np.float32(expected - 2e4))
    assert_close(jax.grad(logmeanexp)(a), jax.nn.softmax(a))


def test_logmeanexp_of_impossible_events_is_impossible():
    assert logmeanexp(jnp.full(3, -jnp.inf)) == -jnp.inf
    assert_close(logmeanexp(jnp.array([0.0, -jnp.inf])), -jnp.log(2.0))


def test_logmeanexp_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"shape \(0, 3\), axis=0"):
        logmeanexp(jnp.zeros((0, 3)), 0)


# ---- Moments --------------------------------------------------------------------------------


def stream(samples):
    state = moments_init(jax.tree.map(lambda a: a[0], samples))
    return jax.lax.scan(lambda s, x: (moments_update(s, x), None), state, samples)[0]


@pytest.fixture
def samples(x64, getkey):
    return {
        "a": 3 + jax.random.normal(getkey(), (57, 2)),
        "b": (jax.random.exponential(getkey(), (57,)),),
    }


def expected(samples, ddof=1):
    return (
        jax.tree.map(lambda a: np.mean(a, 0), samples),
        jax.tree.map(lambda a: np.var(a, 0, ddof=ddof), samples),
    )


@pytest.mark.parametrize("ddof", [0, 1])
def test_streaming_moments_are_numpys(ddof, samples):
    state = jax.jit(stream)(samples)
    assert state.count == 57
    assert_close((state.mean, state.variance(ddof)), expected(samples, ddof))
    assert_close(
        state.standard_error(), jax.tree.map(lambda a: np.std(a, 0, ddof=1) / 57**0.5, samples)
    )


def test_moments_of_a_batch_are_those_of_its_stream(samples):
    batch = moments_of(samples)
    assert_close((batch.mean, batch.variance()), expected(samples))
    assert batch.count == 57


@pytest.mark.parametrize("cut", [1, 20, 56])
def test_merged_moments_are_those_of_all_samples(cut, samples):
    head, tail = (jax.tree.map(lambda a, s=s: a[s], samples) for s in (np.s_[:cut], np.s_[cut:]))
    merged = jax.jit(lambda a, b: moments_merge(moments_of(a), stream(b)))(head, tail)
    assert merged.count == 57
    assert_close((merged.mean, merged.variance()), expected(samples))


def test_merging_with_the_empty_state_changes_nothing(samples):
    state = moments_of(samples)
    empty = moments_init(jax.tree.map(lambda a: a[0], samples))
    for merged in (moments_merge(empty, state), moments_merge(state, empty)):
        assert_close((merged.mean, merged.variance()), (state.mean, state.variance()))
    nothing = moments_merge(empty, empty)
    assert nothing.count == 0
    assert_close(nothing.mean, empty.mean)


def test_variance_is_nan_until_there_are_more_samples_than_ddof():
    state = moments_update(moments_init(jnp.zeros(2)), jnp.ones(2))
    assert jnp.isnan(state.variance()).all()
    assert jnp.isnan(state.standard_error()).all()
    assert_close(state.variance(ddof=0), jnp.zeros(2))
    assert_close(state.mean, jnp.ones(2))


@pytest.mark.parametrize("collect", [stream, moments_of])
def test_moments_in_float32_survive_an_offset_of_a_million_deviations(collect, getkey):
    """The samples themselves are rounded to 1/16 there, which numpy in float64 sees as well."""
    samples = 1e6 + jax.random.normal(getkey(), (20_000,))
    assert samples.dtype == jnp.float32
    state = jax.jit(collect)(samples)
    wide = np.asarray(samples, np.float64)
    assert abs(float(state.mean) - wide.mean()) <= 0.0626  # one spacing of float32 at 1e6
    np.testing.assert_allclose(state.variance(), wide.var(ddof=1), rtol=1e-4)


def test_merging_in_float32_survives_an_offset_of_a_million_deviations(getkey):
    samples = 1e6 + jax.random.normal(getkey(), (20, 1_000))
    states = jax.vmap(moments_of)(samples)
    first = jax.tree.map(lambda a: a[0], states)
    rest = jax.tree.map(lambda a: a[1:], states)
    merged = jax.lax.scan(lambda s, x: (moments_merge(s, x), None), first, rest)[0]
    wide = np.asarray(samples, np.float64)
    assert merged.count == 20_000
    np.testing.assert_allclose(merged.variance(), wide.var(ddof=1), rtol=1e-4)


def test_moments_refuse_samples_of_another_kind():
    with pytest.raises(ValueError, match="floating-point"):
        moments_init(jnp.arange(3))
    with pytest.raises(ValueError, match=r"sample .* f32\[3\], but has f32\[2\]"):
        moments_update(moments_init(jnp.zeros(3)), jnp.zeros(2))
    for bad in ({"a": jnp.ones((3, 2)), "b": jnp.ones(2)}, jnp.asarray(1.0), jnp.ones((0, 2))):
        with pytest.raises(ValueError, match="leading axis"):
            moments_of(bad)


def test_moments_keep_the_dtype_of_each_leaf(x64):
    state = moments_of({"a": jnp.ones((3, 2), jnp.float32), "b": jnp.ones(3)})
    for tree in (state.mean, state.variance(), state.standard_error()):
        assert (tree["a"].dtype, tree["b"].dtype) == (jnp.float32, jnp.float64)


# ---- Probes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [rademacher_like, normal_like])
def test_probes_look_like_the_tree_and_are_white(draw, x64, getkey):
    """n = 20,000: means 0, squares 1, products of different entries 0."""
    tree = {"a": jnp.zeros((2, 1)), "b": jnp.zeros((), jnp.float32)}
    keys = jax.random.split(getkey(), 20_000)
    probes = jax.vmap(lambda k: draw(k, tree))(keys)
    assert jax.tree.map(lambda p: (p.shape[1:], p.dtype), probes) == jax.tree.map(
        lambda a: (a.shape, a.dtype), tree
    )
    a0, a1, b = probes["a"][:, 0, 0], probes["a"][:, 1, 0], probes["b"].astype(jnp.float64)
    for sample in (a0, a1, b, a0 * a1, a0 * b):
        assert_unbiased(sample, 0.0)
    if draw is rademacher_like:
        assert_close(jnp.abs(a0), jnp.ones(20_000))
    else:
        assert_unbiased(a0**2, 1.0)


def test_probes_refuse_integers():
    with pytest.raises(ValueError, match="floating-point"):
        rademacher_like(jax.random.key(0), jnp.arange(3))
