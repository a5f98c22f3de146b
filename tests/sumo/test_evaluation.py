"""Baselines, IWAE by streaming, and what a set of values says of its mean."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sumo_problems import model, truth, xs

from tenfold.sumo import PowerTail, RowPlan, evaluate, log_mean_curve, pareto_k, summary, sumo
from tenfold.sumo.baselines import _weights, elbo, iwae, jackknife, mlmc


def test_baselines_are_their_formulas_on_the_samples_of_sumo(getkey, x64):
    key, x, k = getkey(), xs(), 6
    logw = eqx.filter_jit(_weights)(*model(), x, key, k, None)
    curve = jax.vmap(log_mean_curve)(logw)
    np.testing.assert_allclose(
        eqx.filter_jit(iwae)(*model(), x, key, k=k).value, curve[:, -1], atol=1e-12
    )
    np.testing.assert_allclose(
        eqx.filter_jit(elbo)(*model(), x, key, k=k).value, logw.mean(1), atol=1e-12
    )
    less = [
        jnp.mean(jnp.array([log_mean_curve(jnp.delete(row, i))[-1] for i in range(k)]))
        for row in logw
    ]
    want = k * curve[:, -1] - (k - 1) * jnp.array(less)
    np.testing.assert_allclose(
        eqx.filter_jit(jackknife)(*model(), x, key, k=k).value, want, atol=1e-11
    )
    plan = RowPlan.of(np.full(4, 5), PowerTail(1.5))
    np.testing.assert_allclose(sumo(*model(), x, key, plan=plan).bound, logw[:, 0], atol=1e-12)


@pytest.mark.slow
def test_the_bias_of_each_baseline_is_as_known(getkey):
    """At x = 1: the ELBO's gap in closed form; IWAE_k's about that of the brief; the jackknife's
    smaller than IWAE's by far; MLMC of 5 levels near IWAE_32's. 5 standard errors."""
    x, key = jnp.ones(100_000), getkey()
    joint, encoder = model()
    encoder = eqx.tree_at(lambda e: (e.slope, e.shift), encoder, (jnp.array(0.0), jnp.array(0.2)))

    def bias(estimator, **options):
        run = eqx.filter_jit(lambda key: estimator(joint, encoder, x, key, **options).value)
        values = np.asarray(run(key), np.float64) - truth(1.0)
        return values.mean(), 5 * values.std() / len(values) ** 0.5

    mu, sd = 0.2, 0.9
    gap = -0.5 * math.log(2 * math.pi) - 0.5 * ((1 - mu) ** 2 + sd**2) - 0.5 * (mu**2 + sd**2)
    gap += 0.5 + math.log(sd) - truth(1.0)
    found, error = bias(elbo)
    assert found == pytest.approx(gap, abs=error)
    found, error = bias(iwae, k=6)
    assert found == pytest.approx(-0.0159, abs=error + 1e-3)
    second, error = bias(jackknife, k=6)
    assert abs(second) < 0.5 * abs(found)
    third, error = bias(mlmc, levels=5)
    assert abs(third) < 0.008 + error


def test_streaming_is_the_whole_whatever_the_chunk(getkey, x64):
    key, x = getkey(), xs()
    logw = eqx.filter_jit(_weights)(*model(), x, key, 240, None)
    for chunk in (10, 240):
        found = evaluate(*model(), x, key, k=240, chunk=chunk, top=7)
        whole = jax.nn.logsumexp(logw, axis=1) - math.log(240)
        np.testing.assert_allclose(found.value, whole, atol=1e-12)
        np.testing.assert_allclose(found.top, -jnp.sort(-logw, axis=1)[:, :7], atol=1e-12)
        w = jnp.exp(logw)
        np.testing.assert_allclose(found.effective, w.sum(1) ** 2 / (w**2).sum(1), rtol=1e-10)
    np.testing.assert_allclose(found.value, truth(x), atol=0.1)
    with pytest.raises(ValueError, match="multiple"):
        evaluate(*model(), x, key, k=100, chunk=30)


def test_numpy_data_serve_inside_of_a_jitted_function(getkey):
    x, key, plan = np.asarray(xs(), np.float32), getkey(), RowPlan.draw(0, 4)
    run = lambda both: (  # noqa: E731
        evaluate(*both, x, key, k=10, chunk=5).value,
        iwae(*both, x, key, k=10).value,
        sumo(*both, x, key, plan=plan).value,
    )
    found = eqx.filter_jit(run)(model())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_memory_does_not_grow_with_the_samples(getkey):
    def bytes_of(k):
        run = eqx.filter_jit(lambda both, x, key: evaluate(*both, x, key, k=k).value)
        compiled = run.lower(model(), jnp.zeros(16), getkey()).compile().compiled
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(5000) <= 1.05 * bytes_of(500)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_the_tail_index_of_a_pareto_sample_is_found(k):
    """Median of 40 samples of 2,000, within 0.1 (the estimate's spread is about 0.15 each)."""
    rng = np.random.default_rng(1)
    found = [pareto_k(rng.random(2000) ** -k) for _ in range(40)]
    assert np.median(found) == pytest.approx(k, abs=0.1)


def test_light_tails_have_an_interval_and_heavy_ones_none():
    rng = np.random.default_rng(2)
    light = summary(rng.standard_normal(4000) + 3)
    low, high = light.interval(0.999)
    assert low < 3 < high
    assert "+-" in str(light)
    heavy = summary(rng.random(4000) ** -0.9)
    assert heavy.tail_index > 0.5
    assert math.isnan(heavy.standard_error)
    assert "+-" not in str(heavy)
    with pytest.raises(ValueError, match="tail index"):
        heavy.interval()
    assert heavy.largest == pytest.approx(heavy.mean + abs(heavy.largest - heavy.mean))


def test_too_few_or_bad_values():
    assert math.isnan(summary([1.0, 2.0, 4.0]).standard_error)
    assert summary(np.full(100, 2.5)).standard_error == 0
    with pytest.raises(ValueError, match="not finite"):
        summary([1.0, math.nan])
