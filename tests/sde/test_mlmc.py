"""Multilevel Monte Carlo on geometric Brownian motion, where means are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from helpers import Z_BOUND
from sde.sde_problems import GBM, NONCOMMUTING
from tenfold import sde
from tenfold.base import RESULTS

MU, S, Z0 = 0.1, 0.3, 1.5
TS = jnp.array([0.0, 1.0])


def price(zs):
    return zs[-1, 0]


def call(zs):
    """A call option with strike 1.6, not discounted."""
    return jnp.maximum(zs[-1, 0] - 1.6, 0)


def call_mean():
    """Black and Scholes."""
    d1 = (np.log(Z0 / 1.6) + MU + S**2 / 2) / S
    return Z0 * np.exp(MU) * norm.cdf(d1) - 1.6 * norm.cdf(d1 - S)


@pytest.mark.parametrize(
    ("payoff", "mean"), [(price, Z0 * np.exp(MU)), (call, call_mean())], ids=["mean", "call"]
)
@pytest.mark.parametrize("antithetic", [False, True])
def test_the_estimate_is_the_closed_form_within_its_error(payoff, mean, antithetic):
    found = sde.mlmc(
        GBM.sde(), payoff, jnp.array([Z0]), TS, 4e-3, antithetic=antithetic, key=jax.random.key(0)
    )
    assert found.result == RESULTS.successful
    assert found.standard_error < 4e-3 / np.sqrt(2) * 1.05
    assert found.bias < 4e-3 / np.sqrt(2)
    assert abs(found.estimate - mean) < Z_BOUND * found.standard_error + found.bias


def test_a_small_error_costs_less_than_plain_monte_carlo():
    """Steps of all levels, against as many samples of the finest as the same error needs."""
    found = sde.mlmc(GBM.sde(), call, jnp.array([Z0]), TS, 1e-3, key=jax.random.key(1))
    assert found.cost < 0.5 * found.plain_cost
    assert abs(found.estimate - call_mean()) < Z_BOUND * found.standard_error + found.bias


def test_variances_and_means_of_differences_fall_with_the_level():
    """Milstein: V_l about a quarter of V_(l-1), and samples fewer with it."""
    found = sde.mlmc(GBM.sde(), price, jnp.array([Z0]), TS, 2e-3, key=jax.random.key(2))
    variances = np.array([level.variance for level in found.levels])
    ratios = variances[1:-1] / variances[2:]
    assert np.all((ratios > 2.5) & (ratios < 6))
    assert list(found.samples) == sorted(found.samples, reverse=True)
    assert [level.cost for level in found.levels[:3]] == [1, 3, 6]


def test_antithetic_pairs_lower_the_variance_of_a_payoff_that_is_about_odd():
    options = {"eps": 1e-2, "key": jax.random.key(3)}
    plain = sde.mlmc(GBM.sde(), price, jnp.array([Z0]), TS, **options)
    pairs = sde.mlmc(GBM.sde(), price, jnp.array([Z0]), TS, antithetic=True, **options)
    assert pairs.levels[0].variance < 0.1 * plain.levels[0].variance
    assert pairs.levels[0].cost == 2 * plain.levels[0].cost


def test_general_noise_and_several_times_are_served():
    """A payoff of the path; the default scheme is Heun's there."""

    def average(zs):
        return jnp.mean(zs)

    ts = jnp.array([0.0, 0.3, 1.0])
    found = sde.mlmc(
        NONCOMMUTING.sde(), average, jnp.array([1.0, 0.5]), ts, 2e-2, key=jax.random.key(4)
    )
    assert found.result == RESULTS.successful
    assert found.levels[0].cost == 2


def test_a_bias_that_the_levels_do_not_resolve_is_reported():
    """Euler-Maruyama of a fast drift with at most three levels."""
    equation = sde.SDE(
        lambda t, z, args: 1.5 * z, lambda t, z, args: 0.01 * z, noise="diagonal", kind="ito"
    )
    found = sde.mlmc(
        equation,
        price,
        jnp.array([1.0]),
        TS,
        1e-2,
        method=sde.EulerMaruyama(),
        most=2,
        key=jax.random.key(5),
    )
    assert found.result == RESULTS.max_steps_reached
    assert found.bias > 1e-2
    assert len(found.levels) == 3


def test_the_multilevel_mean_is_differentiable_in_the_equations_parameters():
    """d/dmu E z(1) = E z(1) = z0 exp(mu), d/dz0 = exp(mu); |z| by ten independent keys."""

    @eqx.filter_jit
    def gradient(key):
        def mean(both):
            equation, z0 = both
            return sde.multilevel_mean(equation, price, z0, TS, (4000, 500, 100), key=key)

        found = eqx.filter_grad(mean)((GBM.sde(), jnp.array([Z0])))
        return jnp.stack([found[0].drift.rate, found[1][0]])

    found = np.asarray(jax.lax.map(gradient, jax.random.split(jax.random.key(6), 10)))
    error = found.std(axis=0, ddof=1) / np.sqrt(10)
    # Milstein with four steps: (1 + mu/4)^4 in place of exp(mu), and its derivative.
    expected = np.array([Z0 * (1 + MU / 4) ** 3, (1 + MU / 4) ** 4])
    assert np.all(np.abs(found.mean(axis=0) - expected) < Z_BOUND * error)


def test_the_same_key_gives_the_same_estimate():
    runs = [
        sde.mlmc(GBM.sde(), price, jnp.array([Z0]), TS, 1e-2, key=jax.random.key(7))
        for _ in range(2)
    ]
    assert runs[0].estimate == runs[1].estimate
    assert runs[0].samples == runs[1].samples


BAD = {
    "eps": ({"eps": 0.0}, "eps > 0"),
    "most": ({"most": 1}, "most >= 2"),
    "coarsest": ({"coarsest": 0}, "at least 1"),
    "start": ({"z0": jnp.ones((2, 1))}, r"one state, \(d,\), got \(2, 1\)"),
    "payoff": ({"payoff": lambda zs: zs[-1]}, r"one number, got shape \(1,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_to_mlmc_is_refused(case):
    changed, message = BAD[case]
    options = {
        "payoff": price,
        "z0": jnp.array([Z0]),
        "ts": TS,
        "eps": 0.1,
        "key": jax.random.key(0),
    }
    with pytest.raises(ValueError, match=message):
        sde.mlmc(GBM.sde(), **{**options, **changed})


def test_antithetic_paths_are_opposite():
    """Their sum is 0 at every step; a scalar motion has no axis to pair along."""
    noise = sde.Antithetic(sde.GridNoise(jax.random.key(0), (3, 2), 0.0, 1.0, 4))
    assert noise.shape == (6, 2)
    w = noise.evaluate(0.5)
    np.testing.assert_array_equal(w[:3], -w[3:])
    with pytest.raises(ValueError, match="leading axis"):
        sde.Antithetic(sde.GridNoise(jax.random.key(0), (), 0.0, 1.0, 4))


def test_a_payoff_that_is_not_finite_ends_the_run():
    bad = lambda zs: jnp.log(zs[-1, 0] - 1e6)  # noqa: E731
    found = sde.mlmc(GBM.sde(), bad, jnp.array([Z0]), TS, 1e-2, first=64, key=jax.random.key(0))
    assert found.result == RESULTS.nonfinite


def test_a_payoff_without_variance_is_known_at_once():
    """A rare event of which no sample was seen, say."""
    never = lambda zs: jnp.where(zs[-1, 0] > 1e6, 1.0, 0.0).astype(zs.dtype)  # noqa: E731
    found = sde.mlmc(GBM.sde(), never, jnp.array([Z0]), TS, 1e-2, first=64, key=jax.random.key(0))
    assert (found.estimate, found.standard_error) == (0.0, 0.0)
    assert np.isnan(found.plain_cost)
