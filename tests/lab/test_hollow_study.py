"""The hollow study: its parts compute what they say, its claims can fail, it runs through."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold.base import value_and_divergence
from tenfold.hollow import check_hollow, hollow_mlp
from tenfold.lab import Results, registry
from tenfold.lab.metrics import energy_distance
from tenfold.lab.run import Run
from tenfold.lab.studies import _hollow_digits as digits
from tenfold.lab.studies import _hollow_flows as flows
from tenfold.lab.studies import _hollow_sdes as sdes
from tenfold.lab.studies import _hollow_stiff as stiff
from tenfold.lab.studies import _hollow_toys as toys
from tenfold.nets import TimeMLP

STUDY = registry.load("hollow")
CLAIMS = {claim.id: claim for claim in STUDY.claims}
CHEAP = replace(STUDY.presets["smoke"].config, rates=4, couplings=1, cost_sizes=(8, 32))


def net_of(size, key=0):
    return hollow_mlp(size, 4, dtype=jnp.float32, key=jax.random.key(key))


# ---- Parts ------------------------------------------------------------------------------------
def test_what_a_mask_puts_to_zero_is_no_parameter():
    """Counted by hand for d = 3, width 4, d_h = 2: half of both masked layers is seen."""
    net = hollow_mlp(3, 2, 4, tau_width=5, dtype=jnp.float32, key=jax.random.key(0))
    # first: degrees 1, 2 see 1 + 2 and the reverse 2 + 1; last: they feed 2 + 1, and 1 + 2 entries.
    masked = 6 + 6 + 3 * 2 + 2 * 4
    tau = 5 + 2 * 5 + 2 * 5 + (5 + 1)
    assert flows.parameters(net) == masked + tau


def test_the_unrestricted_field_has_as_many_parameters_and_hardly_more():
    """The fewest units that reach the number asked for."""
    for depth in (1, 2):
        net = flows.plain(6, 700, jax.random.key(0), depth=depth)
        assert isinstance(net, TimeMLP)
        one_unit = 2 * 6 + 3 + (depth - 1) * (2 * net.layers[0].weight.shape[0] + 2)
        assert 700 <= flows.parameters(net) < 700 + one_unit


def test_a_leak_is_not_believed(x64):
    """The leaking net's own divergence is wrong; the one that it is tested by is the trace."""
    net = hollow_mlp(4, 4, key=jax.random.key(0))
    x = jnp.array([0.3, -1.0, 0.5, 2.0])
    leak = flows.leaking(net)
    assert not check_hollow(leak.conditioner, x).proved
    trace = jnp.trace(jax.jacfwd(lambda x: leak(0.2, x))(x))
    assert abs(value_and_divergence(leak, 0.2, x)[1] - trace) > 1e-2
    known = flows.Opaque(leak)
    assert abs(value_and_divergence(known, 0.2, x)[1] - trace) < 1e-12
    assert isinstance(flows.honest(flows.leaking(net_of(4)), 4), flows.Opaque)
    assert not isinstance(flows.honest(net_of(4), 4), flows.Opaque)


def test_digits_are_standardised_and_batches_are_a_function_of_seed_and_step():
    """Training pixels have mean 0 and unit scale; components are uncorrelated too."""
    seen = np.concatenate([digits.Batches("pixels", 100, 0)(i) for i in range(12)])
    assert np.abs(seen.mean(0)).max() < 0.2
    assert np.abs(seen.std(0) - 1).max() < 0.2
    components = np.concatenate([digits.Batches("components", 100, 0)(i) for i in range(12)])
    assert np.abs(np.cov(components.T) - np.eye(16)).max() < 0.3
    first, again, other = (digits.Batches("pixels", 10, s)(3) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_no_test_digit_is_trained_on_or_selected_by():
    parts = [{row.tobytes() for row in part} for part in digits.ink()]
    assert [len(part) for part in digits.ink()] == [1237, 200, 360]
    assert not parts[2] & (parts[0] | parts[1])


def test_the_stiff_family_knows_its_diagonal_and_its_solution(x64):
    field = stiff.Stiff(jax.random.key(0))
    args = (jnp.asarray(100.0), jnp.asarray(0.5))
    y = jax.random.normal(jax.random.key(1), (stiff.SIZE,))
    value, diagonal = field.value_and_jacobian_diagonal(0.4, y, args)
    jacobian = jax.jacfwd(lambda y: field(0.4, y, args))(y)
    np.testing.assert_allclose(diagonal, jnp.diag(jacobian), rtol=1e-12)
    np.testing.assert_array_equal(value, field(0.4, y, args))
    along = jnp.full(stiff.SIZE, jnp.cos(0.4))
    np.testing.assert_allclose(field(0.4, along, args), -jnp.sin(0.4), atol=1e-12)


def test_the_mass_of_the_toys_is_added_up_over_equal_cells():
    """A normal density sums to 1 over the grid."""
    cells, area = toys.grid()
    density = np.exp(-0.5 * (cells.astype(float) ** 2).sum(1)) / (2 * np.pi)
    assert abs(area * density.sum() - 1) < 1e-4
    assert toys._off(1.02) < 0.01 < toys._off(0.97)
    assert toys._off(float("nan")) == toys._off(float("inf")) == 1
    assert toys.points(5, 0).shape == (4, 5, 2)


def test_simulated_paths_have_the_moments_of_the_turning_process():
    """E X(1) = e^-1 R(2) m and Var = g^2 (1 - e^-2)/2 + v e^-2, within 4 standard errors."""
    drift, g, mean, deviation, _ = sdes.PROBLEMS["ou"]
    x = np.asarray(sdes.paths(drift, g, mean, deviation, 4000, jax.random.key(0))[-1])
    expected = np.exp(-1) * 2 * np.array([np.cos(2), np.sin(2)])
    variance = g**2 * (1 - np.exp(-2)) / 2 + deviation**2 * np.exp(-2)
    bias = 0.01  # of Euler's steps of 1/400
    assert np.abs(x.mean(0) - expected).max() < 4 * np.sqrt(variance / 4000) + bias
    assert np.abs(x.var(0) / variance - 1).max() < 4 * np.sqrt(2 / 4000) + bias


def test_the_sampling_error_is_that_of_two_true_sets():
    """Sets of one law lie within it about nineteen times in twenty; others do not."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((20, 2000, 2))
    same = rng.standard_normal((20, sdes.REPEATS * sdes.SIZES, 2))
    assert sdes.compared(same, truth, rng)["distance_over_error"] < 1
    assert sdes.compared(same + 0.5, truth, rng)["distance_over_error"] > 1


def test_energy_distance_is_unbiased():
    """|z| < 4 over 200 pairs of small samples of one law."""
    rng = np.random.default_rng(0)
    found = [energy_distance(*rng.standard_normal((2, 20, 3))) for _ in range(200)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(200)


# ---- Claims -----------------------------------------------------------------------------------
def measured(arms, names, tmp_path, config=CHEAP):
    def one(name, seed):
        run = Run(name, seed, tmp_path / name / str(seed))
        return arms[name].measure(config, jax.random.key(seed), run)

    return Results(config, {name: {seed: one(name, seed) for seed in range(3)} for name in names})


def judged(names, arms, folder, config=CHEAP):
    claims = [CLAIMS[f"hollow/{name}"] for name in names]
    needed = {a for c in claims for a in (c.arm, c.against) if isinstance(a, str)}
    results = measured(arms, needed, folder, config)
    return {claim.id.split("/")[1]: results.judge(claim).outcome for claim in claims}


FAST = {
    "leak": ("hollow", "divergence", "orders", "gradient"),
    "g-squared": ("fokker-planck",),
    "silent": ("operations", "growth"),
    "functional": ("stiff-all", "coupled-all"),
}
"""Sabotages and claims that need no training."""


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", FAST)
def test_claims_hold_and_their_sabotage_makes_them_fail(sabotage, tmp_path):
    """On three seeds, through the same judge as the command's."""
    assert all(CLAIMS[f"hollow/{name}"].sabotage == sabotage for name in FAST[sabotage])
    broken = dict(STUDY.arms) | STUDY.sabotages[sabotage]
    whole = judged(FAST[sabotage], STUDY.arms, tmp_path / "whole")
    assert whole == dict.fromkeys(FAST[sabotage], "holds")
    assert judged(FAST[sabotage], broken, tmp_path / "broken") == dict.fromkeys(whole, "fails")


def test_every_claim_names_a_control_that_replaces_its_arm():
    for claim in STUDY.claims:
        assert {claim.arm, claim.against} & set(STUDY.sabotages[claim.sabotage]), claim.id


@pytest.mark.slow
def test_the_smoke_preset_runs_through_the_command(cache, tmp_path):
    """Every arm is measured, every figure drawn, the page written."""
    words = [sys.executable, "-m", "tenfold", "run", "hollow", "smoke", "--workers", "1"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"TENFOLD_CACHE": str(cache)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (path,) = Path(tmp_path, "runs", "hollow").iterdir()
    found = {each.stem.rsplit("-", 1)[0] for each in path.glob("results/*")}
    assert found == set(STUDY.arms)
    drawn = {each.stem for each in path.glob("figures/*.svg")}
    assert drawn == {figure.name for figure in STUDY.figures}
