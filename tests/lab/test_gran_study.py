"""The gran study: its parts compute what they say, its claims can fail, it runs through."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold import gran
from tenfold.lab import Results, registry
from tenfold.lab.run import Run
from tenfold.lab.studies import _gran_sets as sets
from tenfold.lab.studies._gran_blocks import shuffled_samples
from tenfold.lab.studies._gran_figures import unpacked
from tenfold.lab.studies._gran_scores import bits_per_pair, drawable

STUDY = registry.load("gran")
CHEAP = replace(STUDY.presets["smoke"].config, cost_nodes=60)
CLAIMS = {claim.id: claim for claim in STUDY.claims}


# ---- Parts ------------------------------------------------------------------------------------
def test_every_claim_names_a_control_that_replaces_its_arm():
    for claim in STUDY.claims:
        assert claim.arm in STUDY.sabotages[claim.sabotage], claim.id


def test_rivals_have_the_density_and_the_degrees_of_training_graphs():
    train, _ = sets.chosen(STUDY.presets["small"].config, 0)
    key = jax.random.key(0)
    made = sets.erdos_renyi(train, 400, key)
    assert np.mean([sets.density(g) for g in made]) == pytest.approx(
        np.mean([sets.density(g) for g in train]), rel=0.1
    )
    degrees = {tuple(sorted(g.degrees)) for g in train}
    exact = [tuple(sorted(g.degrees)) in degrees for g in sets.configuration(train, 50, key)]
    assert np.mean(exact) > 0.02


def small_model(**options):
    return gran.GRAN(9, 8, 2, 3, gate=4, key=jax.random.key(0), **options)


def test_bits_are_the_bound_of_log_prob(x64):
    """Of several graphs together, in batches; orderings that give one matrix count once."""
    net = small_model(max_block=2, dtype=jnp.float64)
    graphs = [gran.grid(3, 3), gran.grid(2, 3), gran.grid(1, 4)]
    orders = ("dfs", "bfs", "dfs", "default")
    nats = [float(gran.log_prob(net, g, orders, block=2, stride=1).value) for g in graphs]
    want = -sum(nats) / (36 + 15 + 6) / np.log(2)
    assert bits_per_pair(net, graphs, orders, block=2, stride=1) == pytest.approx(want, rel=1e-9)


def test_shuffled_graphs_have_the_sizes_asked_for():
    pmf = np.eye(10)[7]
    made = shuffled_samples(small_model(), size_pmf=pmf, n=3, parallel=1, key=jax.random.key(1))
    assert [graph.n_nodes for graph in made] == [7, 7, 7]


def test_what_a_figure_draws_is_what_was_made():
    graphs = [gran.grid(2, 3), gran.Graph(2, np.zeros((0, 2), np.int64))]
    found = unpacked(np.asarray(drawable(graphs, "made")["made_graphs"]))
    assert [n for n, _ in found] == [6, 2]
    assert np.array_equal(found[0][1], graphs[0].edges)
    assert len(found[1][1]) == 0


# ---- Claims -----------------------------------------------------------------------------------
def measured(arms, names, tmp_path, config=CHEAP):
    def unit(name, seed):
        return arms[name].measure(config, jax.random.key(seed), Run(name, seed, tmp_path))

    return Results(config, {name: {s: unit(name, s) for s in range(3)} for name in names})


@pytest.mark.slow
def test_memory_grows_with_the_nodes_unless_lists_are_as_long(tmp_path):
    """On three seeds, through the same judge as the command's."""
    claim, config = CLAIMS["gran/memory-growth"], replace(CHEAP, large_nodes=1600)
    broken = dict(STUDY.arms) | STUDY.sabotages[claim.sabotage]
    assert measured(STUDY.arms, ("memory",), tmp_path, config).judge(claim).outcome == "holds"
    assert measured(broken, ("memory",), tmp_path, config).judge(claim).outcome == "fails"


@pytest.mark.slow
def test_one_program_serves_all_sizes_unless_each_has_a_model(tmp_path):
    run, key = Run("speed", 0, tmp_path), jax.random.key(0)
    assert STUDY.arms["speed"].measure(CHEAP, key, run)["programs"] == 1
    assert STUDY.sabotages["apart"]["speed"].measure(CHEAP, key, run)["programs"] == 4


EQUAL = {
    "gran/mixture-bits": ("blocks", "blocks-k1"),
    "gran/stride": ("blocks",),
    "gran/family": ("gran-family",),
}
"""Claims whose sabotage takes away what they are about, so that nothing is left to find."""


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUAL)
def test_a_sabotage_that_switches_the_method_off_leaves_nothing(name, tmp_path):
    """Even nets of two steps then agree to the bit: the claim fails, whatever was learnt."""
    claim, names = CLAIMS[name], EQUAL[name]
    broken = dict(STUDY.arms) | STUDY.sabotages[claim.sabotage]
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        results = measured(broken, names, tmp_path, replace(CHEAP, blocks=(4,)))
    assert results.judge(claim).outcome == "fails"


@pytest.mark.slow
def test_the_smoke_preset_runs_through_the_command(cache, tmp_path):
    """Every arm is measured, every figure drawn, the page written."""
    words = [sys.executable, "-m", "tenfold", "run", "gran", "smoke", "--workers", "1"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ | {"TENFOLD_CACHE": str(cache)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    (path,) = Path(tmp_path, "runs", "gran").iterdir()
    found = {each.stem.rsplit("-", 1)[0] for each in path.glob("results/*")}
    assert found == set(STUDY.arms)
    drawn = {each.stem for each in path.glob("figures/*.svg")}
    assert drawn == {figure.name for figure in STUDY.figures}
