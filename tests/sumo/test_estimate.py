from itertools import permutations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sumo_problems import atoms, brute

from tenfold.sumo import (
    GeometricTail,
    PaperTail,
    PowerTail,
    coefficients,
    differences,
    estimate,
    expected_rows,
    log_mean_curve,
)
from tenfold.sumo._estimate import check_kind

POWER, GEOMETRIC = PowerTail(1.5), GeometricTail()


@eqx.filter_jit
def at(logw, k, tail, m=1, kind="loo"):
    """The estimates of one series or of many, for a K that is traced: one program a shape."""
    one = lambda row: estimate(row, k, tail, m, kind)  # noqa: E731
    return one(logw) if logw.ndim == 1 else jax.vmap(one)(logw)


def draws(n, scale=1.5):
    return jnp.asarray(scale * np.random.default_rng(n).standard_normal(n))


def last_curve(logw):
    return float(jax.nn.logsumexp(logw) - np.log(logw.shape[0]))


@pytest.mark.parametrize("kind", ["paper", "loo"])
@pytest.mark.parametrize(("m", "k"), [(1, 1), (1, 7), (3, 1), (5, 12)])
def test_it_is_the_definition(kind, m, k, x64):
    logw = draws(m + k)
    for tail in (POWER, PaperTail()):
        got = at(logw, jnp.int32(k), tail, m, kind)
        assert float(got) == pytest.approx(brute(logw, k, tail, m, kind), abs=1e-12)


@pytest.mark.parametrize(("m", "k"), [(1, 1), (1, 4), (3, 2)])
def test_antithetic_is_the_definition(m, k, x64):
    logw = draws(m * 2**k)
    got = estimate(logw, k, GEOMETRIC, m, "antithetic")
    assert float(got) == pytest.approx(brute(logw, k, GEOMETRIC, m, "antithetic"), abs=1e-12)


def test_the_papers_kind_averages_to_the_last_bound_exactly(x64):
    """The last atom takes the whole remaining tail, so the series telescopes to L_{n+1}."""
    logw, n = draws(7), 6
    for tail in (POWER, PaperTail(cut=3)):
        values = [at(logw, jnp.int32(k), tail, 1, "paper") for k in range(1, n + 1)]
        mean = np.dot(atoms(tail, n), values)
        assert float(mean) == pytest.approx(last_curve(logw), abs=1e-12)


def test_leave_one_out_averages_to_it_over_all_orders_and_not_for_one(x64):
    logw, n = draws(5), 4
    orders = jnp.asarray(list(permutations(range(5))))
    values = [
        p * at(logw[orders], jnp.int32(k), POWER, 1, "loo")
        for k, p in enumerate(atoms(POWER, n), 1)
    ]
    total = sum(values)
    assert float(jnp.mean(total)) == pytest.approx(last_curve(logw), abs=1e-12)
    assert float(jnp.ptp(total)) > 1e-3


def test_antithetic_averages_to_it_over_all_orders(x64):
    """Levels 1 and 2, the last with the whole tail, of 4 weights in all 24 orders."""
    logw = draws(4)
    orders = jnp.asarray(list(permutations(range(4))))
    single = jax.vmap(lambda order: jnp.mean(logw[order][:1]))(orders)
    bound = float(jnp.mean(single))
    steps = []
    for k in (1, 2):
        values = at(logw[orders], jnp.int32(k), GEOMETRIC, 1, "antithetic")
        p = GEOMETRIC.survival(k) - GEOMETRIC.survival(k + 1)
        steps.append(p * (float(jnp.mean(values)) - bound))
    assert bound + sum(steps) == pytest.approx(last_curve(logw), abs=1e-12)


@pytest.mark.parametrize("kind", ["paper", "loo"])
def test_gradients_in_a_parameter_average_to_that_of_the_last_bound(kind, x64):
    base, slope = draws(5), draws(6)[:5]
    orders = jnp.asarray(list(permutations(range(5))))
    logw = lambda theta, order: (base + jnp.sin(theta * slope))[order]  # noqa: E731
    theta = jnp.asarray(0.7)
    mean = lambda t, k: jnp.mean(  # noqa: E731
        jax.vmap(lambda o: estimate(logw(t, o), k, POWER, 1, kind))(orders)
    )
    one = jax.jit(jax.grad(mean))
    total = sum(p * one(theta, jnp.int32(k)) for k, p in enumerate(atoms(POWER, 4), 1))
    want = jax.grad(lambda t: jax.nn.logsumexp(logw(t, orders[0])))(theta)
    assert float(total) == pytest.approx(float(want), abs=1e-12)


@pytest.mark.parametrize("kind", ["paper", "loo"])
def test_coefficients_are_the_closed_form(kind, x64):
    """dD_n/dl_i = (h(p_i) - p_i sum_j h(p_j)) / n with h(p) = p^2 / (1 - p); the paper's D_n:
    p_i^n - p_i^(n-1)."""
    m, k = 2, 9
    logw = draws(m + k)
    w = np.exp(np.asarray(logw))
    want = np.zeros(m + k)
    want[:m] += w[:m] / w[:m].sum()
    for j in range(1, k + 1):
        n = m + j
        p = w[:n] / w[:n].sum()
        if kind == "loo":
            h = p**2 / (1 - p)
            step = (h - p * h.sum()) / n
        else:
            step = p - np.append(w[: n - 1] / w[: n - 1].sum(), 0)
        want[:n] += step / POWER.survival(j)
    value, got = eqx.filter_jit(coefficients)(logw, k, POWER, m, kind)
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert float(value) == pytest.approx(brute(logw, k, POWER, m, kind), abs=1e-12)


@pytest.mark.parametrize("kind", ["paper", "loo", "antithetic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_any_size_stay_finite(kind, dtype, x64):
    rng = np.random.default_rng(3)
    tail = GEOMETRIC if kind == "antithetic" else POWER
    k = 4 if kind == "antithetic" else 15
    step = jax.jit(jax.value_and_grad(lambda logw, k: estimate(logw, k, tail, 1, kind)))
    for logw in (
        1e3 * rng.standard_normal(16),
        np.full(16, -1e3),
        np.where(np.arange(16) == 5, 1e3, -1e3),
        np.linspace(-1e3, 1e3, 16),
        np.linspace(1e3, -1e3, 16),
    ):
        given = jnp.asarray(logw, dtype)
        value, gradient = step(given, jnp.int32(k))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        rtol = 1e-3 if dtype == "float32" else 1e-10
        np.testing.assert_allclose(value, brute(logw, k, tail, 1, kind), rtol=rtol, atol=1e-3)
        # Adding a constant to all log-weights adds it to log p: the gradient sums to 1.
        assert float(jnp.sum(gradient)) == pytest.approx(
            1, abs=1e-2 if dtype == "float32" else 1e-9
        )


@pytest.mark.parametrize("kind", ["paper", "loo", "antithetic"])
def test_equal_weights_give_their_value_for_every_k(kind):
    tail = GEOMETRIC if kind == "antithetic" else POWER
    for k in (1, 2, 5):
        got = at(jnp.full(40, -3.25), jnp.int32(k), tail, 1, kind)
        assert float(got) == pytest.approx(-3.25, abs=1e-5)


def test_leave_one_out_differences_are_never_negative(x64):
    logw = jnp.asarray(3 * np.random.default_rng(5).standard_normal((100, 30)))
    assert float(jnp.min(differences(logw))) > -1e-14


def test_what_lies_beyond_the_truncation_changes_nothing():
    logw = draws(12)
    for kind in ("paper", "loo"):
        short = at(logw[:5], jnp.int32(4), POWER, 1, kind)
        long = at(logw.at[5:].set(50.0), jnp.int32(4), POWER, 1, kind)
        np.testing.assert_allclose(short, long, rtol=1e-6)


def test_a_series_that_does_not_fit_is_refused_or_nan():
    with pytest.raises(ValueError, match="needs 9 log-weights"):
        estimate(jnp.zeros(8), 8)
    with pytest.raises(ValueError, match="at least 1"):
        estimate(jnp.zeros(8), 0)
    assert np.isnan(jax.jit(estimate)(jnp.zeros(8), 8))
    assert np.isnan(jax.jit(estimate)(jnp.zeros(8), 0))
    with pytest.raises(ValueError, match="kind"):
        check_kind("best", 1)
    with pytest.raises(ValueError, match="`m`"):
        estimate(jnp.zeros(8), 2, m=0)


def test_the_curve_is_the_log_of_running_means(x64):
    logw = draws(9)
    want = [np.log(np.mean(np.exp(logw[:n]))) for n in range(1, 10)]
    np.testing.assert_allclose(log_mean_curve(logw), want, atol=1e-13)
    assert np.isfinite(log_mean_curve(jnp.array([-1e3, 1e3, -1e3]))).all()


def test_expected_rows_are_the_briefs():
    assert expected_rows(PowerTail(1.5), 1, "loo") == pytest.approx(3.612, abs=1e-3)
    assert expected_rows(PaperTail(), 1, "paper") == pytest.approx(6.07798, abs=1e-5)
    assert expected_rows(GeometricTail(), 1, "antithetic") == pytest.approx(4.414, abs=1e-3)
    assert expected_rows(GeometricTail(0.6), 1, "antithetic") == float("inf")


def test_float32_is_accurate_far_out():
    """4,000 terms at once: the series of powers and the running sums keep their digits."""
    logw = draws(4000)
    with jax.enable_x64(True):
        want = at(jnp.asarray(np.asarray(logw), jnp.float64), jnp.int32(3999), POWER)
    np.testing.assert_allclose(at(logw, jnp.int32(3999), POWER), want, rtol=2e-5)
