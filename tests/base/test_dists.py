import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from helpers import assert_close, assert_unbiased
from tenfold.base import (
    bernoulli_kl,
    bernoulli_log_prob,
    categorical_kl,
    categorical_log_prob,
    normal_kl,
    normal_log_prob,
)

SHAPES = pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
EXTREME = jnp.array([-1e3, -50.0, 0.0, 50.0, 1e3])


categorical_kl_and_gradients = jax.jit(jax.value_and_grad(categorical_kl, (0, 1)))


def all_finite(tree):
    return all(bool(jnp.all(jnp.isfinite(a))) for a in jax.tree.leaves(tree))


# ---- Normal ---------------------------------------------------------------------------------


@SHAPES
def test_normal_log_prob_is_scipys_summed_over_the_event(shape, x64, getkey):
    x, mean = (jax.random.normal(getkey(), shape) for _ in range(2))
    scale = jnp.exp(jax.random.normal(getkey(), shape))
    expected = np.sum(scipy.stats.norm.logpdf(x, mean, scale))
    assert_close(normal_log_prob(x, mean, scale), expected)


def test_parameters_shared_by_the_event_count_once_for_each_entry(x64, getkey):
    x = jax.random.normal(getkey(), (4,))
    expected = np.sum(scipy.stats.norm.logpdf(x, 0.5, 2.0))
    assert_close(normal_log_prob(x, 0.5, 2.0), expected)
    assert_close(normal_log_prob(x, jnp.full(4, 0.5), jnp.asarray(2.0)), expected)
    assert_close(normal_kl(x, 1.0, 0.0, 2.0), normal_kl(x, jnp.ones(4), jnp.zeros(4), 2.0))


def test_normal_kl_is_the_mean_of_the_log_ratio_by_gauss_hermite(x64, getkey):
    """The log ratio is quadratic, so five nodes a dimension integrate it exactly."""
    mp, mq = (jax.random.normal(getkey(), (3,)) for _ in range(2))
    sp, sq = (jnp.exp(jax.random.normal(getkey(), (3,))) for _ in range(2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    total = 0.0
    for a, s, b, r in zip(mp, sp, mq, sq, strict=True):
        points = a + s * nodes
        ratio = scipy.stats.norm.logpdf(points, a, s) - scipy.stats.norm.logpdf(points, b, r)
        total += np.sum(weights * np.asarray(ratio)) / np.sqrt(2 * np.pi)
    assert_close(normal_kl(mp, sp, mq, sq), np.float64(total))


def test_normal_kl_is_zero_only_at_equality_and_accurate_near_it():
    one = jnp.ones(3)
    assert normal_kl(one, one, one, one) == 0.0
    # KL(N(0, 1 + e), N(0, 1)) = e^2 + O(e^3) per entry; the textbook formula loses it in float32.
    e = 2.0**-12
    assert_close(normal_kl(0.0, 1 + e, 0.0, 1.0) / e**2, np.float32(1.0), 1e-3)


def test_normal_kl_has_the_gradient_of_its_closed_form(x64):
    gradients = jax.grad(normal_kl, argnums=(0, 1, 2, 3))(0.3, 0.5, -0.2, 2.0)
    z = 0.5 / 2.0
    expected = (z / 2, 0.5 / 4 - 1 / 0.5, -z / 2, 1 / 2 - (0.5**2 + 0.5**2) / 8)
    assert_close(gradients, tuple(np.float64(g) for g in expected))


# ---- Bernoulli ------------------------------------------------------------------------------


@SHAPES
def test_bernoulli_log_prob_is_scipys_summed_over_the_event(shape, x64, getkey):
    logits = 3 * jax.random.normal(getkey(), shape)
    x = jax.random.bernoulli(getkey(), 0.5, shape)
    expected = np.sum(scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)))
    assert_close(bernoulli_log_prob(x, logits), expected)
    assert_close(bernoulli_log_prob(x.astype(int), logits), expected)
    assert_close(bernoulli_log_prob(x.astype(jnp.float32), logits), expected)


def test_bernoulli_log_prob_of_a_grey_value_is_minus_the_cross_entropy(x64):
    p = scipy.special.expit(0.8)
    expected = 0.3 * np.log(p) + 0.7 * np.log1p(-p)
    assert_close(bernoulli_log_prob(0.3, jnp.asarray(0.8)), np.float64(expected))


@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_is_exact_with_finite_gradients_at_extreme_logits(x):
    values = jax.vmap(bernoulli_log_prob, in_axes=(None, 0))(x, EXTREME)
    signed = np.asarray(EXTREME, np.float64) * (1 if x else -1)
    assert_close(values, np.asarray(-np.logaddexp(0, -signed)), 1e-6)
    by_x, by_logits = jax.jit(jax.vmap(jax.grad(bernoulli_log_prob, (0, 1)), (None, 0)))(x, EXTREME)
    assert_close(by_logits, x - jax.nn.sigmoid(EXTREME))
    assert_close(by_x, EXTREME)


def test_bernoulli_keeps_the_small_log_probability_of_a_sure_outcome():
    """-exp(-20) in float32, where x l - softplus(l) gives 0."""
    got = bernoulli_log_prob(1, jnp.asarray(20.0))
    assert_close(got / np.exp(-20.0), np.float32(-1.0))


def test_bernoulli_with_infinite_logits_is_certain():
    infinite = jnp.array([jnp.inf, -jnp.inf])
    assert bernoulli_log_prob(jnp.array([1, 0]), infinite) == 0.0
    assert bernoulli_log_prob(jnp.array([0, 0]), infinite) == -jnp.inf
    assert all_finite(jax.grad(bernoulli_log_prob, 1)(jnp.array([1, 0]), infinite))
    assert bernoulli_kl(infinite, infinite) == 0.0
    assert bernoulli_kl(infinite, jnp.zeros(2)) == 2 * np.float32(np.log(2))
    assert bernoulli_kl(jnp.zeros(2), infinite) == jnp.inf


@SHAPES
def test_bernoulli_kl_is_scipys_relative_entropy(shape, x64, getkey):
    a, b = (3 * jax.random.normal(getkey(), shape) for _ in range(2))
    p, q = scipy.special.expit(a), scipy.special.expit(b)
    expected = np.sum(scipy.special.rel_entr(p, q) + scipy.special.rel_entr(1 - p, 1 - q))
    assert_close(bernoulli_kl(a, b), np.float64(expected))


def test_bernoulli_kl_is_finite_with_finite_gradients_at_extreme_logits():
    pairs = jnp.meshgrid(EXTREME, EXTREME)
    p, q = (a.ravel() for a in pairs)
    values = jax.jit(jax.vmap(bernoulli_kl))(p, q)
    assert all_finite(values)
    assert all_finite(jax.jit(jax.vmap(jax.grad(bernoulli_kl, (0, 1))))(p, q))
    assert_close(bernoulli_kl(jnp.asarray(1e3), jnp.asarray(-1e3)), jnp.asarray(1e3))
    assert_close(values[p == q], jnp.zeros(5))


# ---- Categorical ----------------------------------------------------------------------------


def test_categorical_log_prob_is_scipys(x64, getkey):
    logits = 3 * jax.random.normal(getkey(), (5,))
    expected = scipy.special.log_softmax(logits)
    got = jax.vmap(categorical_log_prob, in_axes=(0, None))(jnp.arange(5), logits)
    assert_close(got, expected)
    assert_close(categorical_log_prob(3, logits), expected[3])


def test_categorical_kl_is_scipys_relative_entropy(x64, getkey):
    a, b = (3 * jax.random.normal(getkey(), (5,)) for _ in range(2))
    expected = scipy.stats.entropy(scipy.special.softmax(a), scipy.special.softmax(b))
    assert_close(categorical_kl(a, b), np.float64(expected))


def test_categorical_is_finite_with_finite_gradients_at_extreme_logits():
    value, gradient = jax.value_and_grad(categorical_log_prob, 1)(0, EXTREME)
    assert_close(value, jnp.asarray(-2e3))
    assert_close(gradient, jnp.array([1.0, 0.0, 0.0, 0.0, -1.0]))
    for p, q in ((EXTREME, -EXTREME), (-EXTREME, EXTREME), (EXTREME, EXTREME)):
        assert all_finite(categorical_kl_and_gradients(p, q))
    assert_close(categorical_kl(EXTREME, -EXTREME), jnp.asarray(2e3))


def test_a_class_that_p_excludes_drops_out_and_one_that_q_excludes_is_infinite():
    p, q = jnp.array([0.0, 0.0, -jnp.inf]), jnp.array([0.0, 0.0, 0.0])
    assert_close(categorical_kl(p, q), jnp.log(1.5))
    assert categorical_kl(q, p) == jnp.inf
    assert_close(categorical_kl(p, p), jnp.asarray(0.0))
    assert all_finite(jax.grad(categorical_kl, (0, 1))(p, q))


def test_a_label_out_of_range_is_refused_or_nan_but_never_another_class():
    with pytest.raises(ValueError, match=r"0\.\.4 for logits of shape \(5,\), got -1"):
        categorical_log_prob(-1, EXTREME)
    for label in (-1, 5):
        assert jnp.isnan(jax.jit(categorical_log_prob)(label, EXTREME))


# ---- All ------------------------------------------------------------------------------------


def test_a_batch_passed_by_mistake_is_refused():
    x, batch = jnp.ones(3), jnp.ones((2, 3))
    for call in (
        lambda: normal_log_prob(x, batch, 1.0),
        lambda: normal_kl(x, 1.0, batch, 1.0),
        lambda: bernoulli_log_prob(x, batch),
        lambda: bernoulli_kl(x, jnp.ones(2)),
        lambda: normal_log_prob(jnp.ones(1), x, 1.0),
    ):
        with pytest.raises(ValueError, match=r"`jax.vmap` for a batch"):
            call()


def test_kl_is_the_mean_of_the_log_ratio_over_samples(x64, getkey):
    """n = 10,000 samples of each law."""
    a, b = jnp.array([0.4, -1.0]), jnp.array([-0.3, 0.5])
    x = jax.random.bernoulli(getkey(), jax.nn.sigmoid(a)[None], (10_000, 2))
    ratio = jax.jit(jax.vmap(lambda x: bernoulli_log_prob(x, a) - bernoulli_log_prob(x, b)))(x)
    assert_unbiased(ratio, float(bernoulli_kl(a, b)))
    x = jax.random.categorical(getkey(), a, shape=(10_000,))
    ratio = jax.jit(jax.vmap(lambda x: categorical_log_prob(x, a) - categorical_log_prob(x, b)))(x)
    assert_unbiased(ratio, float(categorical_kl(a, b)))


def test_float32_stays_float32_under_x64(x64):
    x = jnp.ones(3, jnp.float32)
    results = (
        normal_log_prob(x, 0.0, 1.0),
        normal_kl(x, x, x, 2.0),
        bernoulli_log_prob(jnp.ones(3), x),
        bernoulli_kl(x, 0.0),
        categorical_log_prob(1, x),
        categorical_kl(x, x),
    )
    assert all(r.dtype == jnp.float32 and r.shape == () for r in results)
