"""The sumo study: its parts compute what they say, its claims can fail, it runs."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold import sumo
from tenfold.lab import Results, registry
from tenfold.lab.run import Run
from tenfold.lab.studies import _sumo_funnel as funnel
from tenfold.lab.studies import _sumo_gaussian as gaussian
from tenfold.lab.studies import _sumo_policy as policy
from tenfold.lab.studies import _sumo_vae as vae

STUDY = registry.load("sumo")
CHEAP = replace(STUDY.presets["smoke"].config, draws=200_000, encoder_steps=150)
CLAIMS = {claim.id: claim for claim in STUDY.claims}


# ---- Parts ------------------------------------------------------------------------------------
def test_the_closed_form_is_that_of_the_joint():
    """log p(1) by quadrature over z."""
    with jax.enable_x64(True):
        z = jnp.linspace(-12, 12, 20_001)
        joint = gaussian.Joint(jnp.array(0.0))
        values = jax.vmap(lambda z: joint(jnp.array(1.0), z))(z)
        found = np.log(np.sum(np.exp(values)) * float(z[1] - z[0]))
    assert found == pytest.approx(gaussian.TRUTH, abs=1e-12)


def test_bucketed_plans_lose_the_late_terms():
    plan = sumo.RowPlan.of(np.array([1, 9, 3]), sumo.PowerTail())
    cut = gaussian.bucketed(plan)
    late = plan.valid & (plan.pos >= 4)
    assert late.sum() == 6
    assert (cut.weight[late] == 0).all()
    np.testing.assert_array_equal(cut.weight[~late], plan.weight[~late])


def test_the_best_policy_is_enumerated():
    """log Z and the best reward, beside the sum over states of fewer bits."""
    c = policy.couplings(3).astype(float)
    states = np.array(list(itertools.product([0, 1], repeat=8)), float)
    small = np.einsum("ni,ij,nj->n", states, c[:8, :8], states)
    log_z, best = policy.log_partition(3, 1.0)
    assert log_z > np.log(np.exp(small).sum())
    assert best >= small.max()
    # No policy beats the best one: a uniform one's KL is log Z - E R - 20 log 2, and positive.
    mean = c.sum() / 4 + np.trace(c) / 4
    assert log_z - mean - 20 * np.log(2) > 0


def test_autoregressive_probabilities_sum_to_one():
    """Over all states of 20 bits it would be long: the last 12 are fixed by strong biases."""
    with jax.enable_x64(True):
        weight = jax.random.normal(jax.random.key(0), (20, 20))
        bias = jnp.where(jnp.arange(20) < 8, 0.3, -1e3)
        net = policy.Autoregressive(bias, weight, coupled=True)
        states = np.zeros((256, 20))
        states[:, :8] = list(itertools.product([0, 1], repeat=8))
        log_p = jax.vmap(net.log_prob)(jnp.asarray(states))
        assert float(jnp.sum(jnp.exp(log_p))) == pytest.approx(1, abs=1e-12)
        x = jax.vmap(net.sample)(jax.random.split(jax.random.key(1), 4000))
        kept = jax.vmap(net.log_prob)(x)
        # The mean of -log p of draws is the entropy: five standard errors.
        entropy = -float(jnp.sum(jnp.exp(log_p) * log_p))
        assert abs(float(-jnp.mean(kept)) - entropy) < 5 * float(jnp.std(kept)) / 4000**0.5


def test_score_functions_have_the_gradient_of_the_expectation():
    """Independent bits: d E[R - tau log p] / d bias by enumeration of 2 bits, within 5 errors."""
    with jax.enable_x64(True):
        bias = jnp.array([0.4, -0.2])
        states = jnp.array(list(itertools.product([0.0, 1.0], repeat=2)))
        reward = jnp.array([0.3, -1.0, 2.0, 0.5])

        def log_prob(bias, x):
            return jnp.sum(x * jax.nn.log_sigmoid(bias) + (1 - x) * jax.nn.log_sigmoid(-bias))

        def loss(bias):
            log_p = jax.vmap(lambda x: log_prob(bias, x))(states)
            return -jnp.sum(jnp.exp(log_p) * (reward - 0.5 * log_p))

        @jax.jit
        def estimated(key):
            x = (jax.random.uniform(key, (16, 2)) < jax.nn.sigmoid(bias)[None]).astype(bias.dtype)
            index = (2 * x[:, 0] + x[:, 1]).astype(int)

            def sampled(bias):
                log_p = jax.vmap(lambda x: log_prob(bias, x))(x)
                return policy._score(reward[index] - 0.5 * log_p, log_p)

            return jax.grad(sampled)(bias)

        found = jax.lax.map(estimated, jax.random.split(jax.random.key(0), 4000))
        error = jnp.std(found, axis=0) / 4000**0.5
        assert (jnp.abs(jnp.mean(found, axis=0) - jax.grad(loss)(bias)) < 5 * error).all()


def test_the_funnel_is_normalised_and_its_model_finite():
    rng = np.random.default_rng(0)
    x2 = 1.35 * rng.standard_normal(2000)
    x = np.stack([np.exp(x2) * rng.standard_normal(2000), x2], axis=1).astype(np.float32)
    entropy = -np.mean(jax.vmap(funnel.log_target)(jnp.asarray(x)))
    # Entropy of N(0, exp(x2)^2) is log(2 pi e)/2 + x2, whose mean is that of x2: 0.
    assert entropy == pytest.approx(np.log(2 * np.pi * np.e) + np.log(1.35), abs=0.15)
    nets = funnel.model(CHEAP, jax.random.key(0))
    assert np.isfinite(jax.vmap(lambda x: nets.encoder(x).mean)(jnp.asarray(x))).all()


def test_the_seconds_to_a_target_are_read_between_looks():
    config = replace(CHEAP, every=10, target=5.0)
    assert vae._reached(jnp.array([8.0, 6.0, 4.0]), config) == 25.0
    assert vae._reached(jnp.array([4.0, 3.0, 2.0]), config) == 10.0
    assert vae._reached(jnp.array([8.0, 7.0, 6.0]), config) == float("inf")


def test_images_are_apart_and_binary():
    found = vae.images("digits", 360)
    assert found.train.shape == (1197, 64)
    assert found.validation.shape == (240, 64)
    assert set(np.unique(found.test)) == {0.0, 1.0}
    batches = vae.Batches(found.train, 30, 5, lambda number, batch: number)
    (x, number), (again, _) = batches(7), batches(7)
    np.testing.assert_array_equal(x, again)
    assert number == 5_000_022
    assert (batches(8)[0] != x).any()


# ---- Claims -----------------------------------------------------------------------------------
def measured(arms, names, tmp_path, seeds=(0, 1, 2), config=CHEAP):
    runs = {n: {s: Run(n, s, tmp_path / n / str(s)) for s in seeds} for n in names}
    metrics = {
        name: {s: arms[name].measure(config, jax.random.key(s), run) for s, run in own.items()}
        for name, own in runs.items()
    }
    return Results(config, metrics)


FAST = {
    "sumo/spread": ("gaussian-loo",),
    "sumo/published-variance": ("gaussian-published",),
    "sumo/iwae-biased": ("gaussian-iwae",),
    "sumo/encoder": ("gaussian-encoder",),
}
"""Claims of the closed form that 200,000 draws decide, and their arms."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_a_claim_holds_and_its_sabotage_makes_it_fail(name, tmp_path):
    """On three seeds, through the same judge as the command's."""
    claim, names = CLAIMS[name], FAST[name]
    broken = dict(STUDY.arms) | STUDY.sabotages[claim.sabotage]
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        assert measured(STUDY.arms, names, tmp_path / "whole").judge(claim).outcome == "holds"
        assert measured(broken, names, tmp_path / "broken").judge(claim).outcome == "fails"


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", ["multiplied", "bucketed"])
def test_tampering_moves_the_mean(sabotage, tmp_path):
    arm = STUDY.sabotages[sabotage]["gaussian-loo"]
    found = [arm.measure(CHEAP, jax.random.key(s), Run("b", s, tmp_path))["bias"] for s in (0, 1)]
    assert max(found) < -0.006


@pytest.mark.slow
def test_a_bounded_twin_is_the_twin(tmp_path):
    """With `funnel-bounded` both arms are one to the bit, and the claims fail."""
    arms = dict(STUDY.arms) | STUDY.sabotages["funnel-bounded"]
    with jax.numpy_dtype_promotion("standard"):
        results = measured(arms, ("funnel-sumo", "funnel-iwae"), tmp_path)
    for claim in STUDY.claims_of("funnel-bounded"):
        assert results.judge(claim).outcome == "fails"


@pytest.mark.slow
def test_the_smoke_preset_runs_through_the_command(cache, tmp_path):
    """Every arm is measured, every figure drawn, the page written."""
    words = [sys.executable, "-m", "tenfold", "run", "sumo", "smoke", "--workers", "1"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"TENFOLD_CACHE": str(cache)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (path,) = Path(tmp_path, "runs", "sumo").iterdir()
    found = {each.stem.rsplit("-", 1)[0] for each in path.glob("results/*")}
    assert found == set(STUDY.arms)
    drawn = {each.stem for each in path.glob("figures/*.svg")}
    assert drawn == {figure.name for figure in STUDY.figures}


def test_models_are_built_as_the_arms_build_them():
    nets = vae.model(CHEAP, jax.random.key(0))
    x = jnp.ones(64, jnp.float32)
    assert nets.encoder(x).mean.shape == (10,)
    assert eqx.tree_equal(nets, vae.model(CHEAP, jax.random.key(0)))
