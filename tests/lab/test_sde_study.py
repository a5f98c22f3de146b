"""The sde study: its parts compute what they say, its claims can fail, it runs and goes on."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tenfold.lab import Results, registry
from tenfold.lab.data import DataError
from tenfold.lab.metrics import energy_distance
from tenfold.lab.run import Run
from tenfold.lab.selecting import SelectingStep
from tenfold.lab.studies._sde_walks import SEEN, Windows, data, validation_windows

STUDY = registry.load("sde")
CHEAP = replace(STUDY.presets["smoke"].config, data="walks", paths=100)
CLAIMS = {claim.id: claim for claim in STUDY.claims}


# ---- Parts ------------------------------------------------------------------------------------
def test_without_motion_capture_the_walks_are_made_up(monkeypatch, tmp_path):
    """`auto` says which it took; `mocap` raises."""
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path))
    data.cache_clear()
    series, scale, real = data("auto")
    assert not real
    assert series["train"].shape == (16, 300, 50)
    assert scale.shape == (50,)
    with pytest.raises(DataError):
        data("mocap")
    data.cache_clear()


def test_windows_are_a_function_of_seed_and_step():
    """Each is a piece of its walk; the weight rises to beta."""
    series = data("walks")[0]["train"]
    batches = Windows(series, 40, seed=3, beta=0.5, warm_up=10)
    (first, weight), (again, _), (other, late) = batches(4), batches(4), batches(20)
    assert (first == again).all()
    assert (first != other).any()
    assert float(weight) == 0.25
    assert float(late) == 0.5
    for walk, window in zip(series, first):
        starts = range(300 - 40 + 1)
        assert any((walk[s : s + 40] == window).all() for s in starts)
    assert validation_windows(series[:3], 100).shape == (33, 100, 50)


def test_the_selected_model_is_the_best_on_validation():
    """A loss that pulls x through 0.5 to 1, and a score that wants 0.5: the nearest look wins."""
    step = SelectingStep(
        lambda x, batch, key: (jnp.sum((x - 1) ** 2), {}), optax.sgd(0.05),
        lambda x: jnp.sum(jnp.abs(x - 0.5)), 2,
    )  # fmt: skip
    state, seen = step.init(jnp.zeros(1)), []
    for i in range(20):
        state, _ = step(state, None, jax.random.key(i))
        if i % 2:
            seen.append(float(state.current[0]))
    best = min(range(len(seen)), key=lambda i: abs(seen[i] - 0.5))
    np.testing.assert_allclose(state.model, seen[best], rtol=1e-6)
    assert int(state.chosen) == 2 * (best + 1)


def test_energy_distance_tells_laws_apart():
    """Near 0 for one law, 2 E|A - B| - ... by hand for two points."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 400, 3))
    assert abs(energy_distance(a, b)) < 0.02
    assert energy_distance(a, b + 1) > 0.2
    points = np.array([[0.0], [1.0]]), np.array([[0.0], [3.0]])
    assert energy_distance(*points) == pytest.approx(2 * 6 / 4 - 1 - 3)


# ---- Claims -----------------------------------------------------------------------------------
def measured(arms, names, tmp_path, seeds=(0, 1, 2), config=CHEAP):
    runs = {n: {s: Run(n, s, tmp_path / n / str(s)) for s in seeds} for n in names}
    metrics = {
        name: {s: arms[name].measure(config, jax.random.key(s), run) for s, run in own.items()}
        for name, own in runs.items()
    }
    return Results(config, metrics)


FAST = {
    "sde/order-milstein": ("orders",),
    "sde/reversal": ("backward-stratonovich", "backward-ito"),
    "sde/reversal-order": ("backward-stratonovich",),
    "sde/memory-accuracy": ("memory",),
    "sde/memory-exact": ("memory",),
    "sde/tree-same": ("tree",),
}
"""Claims that need no training, and their arms."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_a_claim_holds_and_its_sabotage_makes_it_fail(name, tmp_path):
    """On three seeds, through the same judge as the command's."""
    claim, names = CLAIMS[name], FAST[name]
    broken = dict(STUDY.arms) | STUDY.sabotages[claim.sabotage]
    assert measured(STUDY.arms, names, tmp_path / "whole").judge(claim).outcome == "holds"
    assert measured(broken, names, tmp_path / "broken").judge(claim).outcome == "fails"


@pytest.mark.slow
def test_the_divergence_kept_is_no_arm_without_it(tmp_path):
    """`kl-kept`: the arm no-kl then equals the latent SDE to the bit, and its claims fail."""
    arms = dict(STUDY.arms) | STUDY.sabotages["kl-kept"]
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        results = measured(arms, ("no-kl", "latent-sde"), tmp_path)
    for name in ("sde/no-kl-trains", "sde/no-kl-tests"):
        assert results.judge(CLAIMS[name]).outcome == "fails"


@pytest.mark.slow
def test_predictions_see_three_frames(tmp_path):
    """Test walks that differ after their third frame get the same predictions."""
    from tenfold.lab.studies.sde import model, predict, times

    net = model(CHEAP, jax.random.key(0))
    xs = jnp.asarray(data("walks")[0]["test"])
    changed = xs.at[:, SEEN:].set(0.0)
    ts = times(CHEAP, 300)
    found = [predict(net, x, ts, 2, 1, jax.random.key(1)) for x in (xs, changed)]
    np.testing.assert_array_equal(*found)


@pytest.mark.slow
def test_the_smoke_preset_runs_through_the_command(cache, tmp_path):
    """Every arm is measured, every figure drawn, the page written."""
    words = [sys.executable, "-m", "tenfold", "run", "sde", "smoke", "--workers", "1",
             "--data", "walks"]  # fmt: skip
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"TENFOLD_CACHE": str(cache)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (path,) = Path(tmp_path, "runs", "sde").iterdir()
    found = {each.stem.rsplit("-", 1)[0] for each in path.glob("results/*")}
    assert found == set(STUDY.arms)
    drawn = {each.stem for each in path.glob("figures/*.svg")}
    assert drawn == {figure.name for figure in STUDY.figures}
