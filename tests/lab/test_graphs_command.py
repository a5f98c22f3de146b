"""`tenfold graphs fit` and `sample`: GraphML in, GraphML out, and one line for every mistake."""

import json
import shutil
from pathlib import Path

import jax
import networkx as nx
import numpy as np
import pytest

from tenfold import gran
from tenfold.lab import verbs
from tenfold.lab.data import graph_files

QUICK = ("--steps", 3, "--hidden", 8, "--rounds", 1, "--mixtures", 2, "--max-block", 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of grids, and a model of them (3 steps)."""
    folder = tmp_path_factory.mktemp("graphs")
    graph_files.write([gran.grid(i, j) for i in (2, 3) for j in (2, 3, 4)], folder / "mine")
    words = ["graphs", "fit", folder / "mine", "--out", folder / "model", *QUICK]
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setenv("TENFOLD_CACHE", str(folder / "cache"))  # and Adam needs JAX's own promotion
        assert verbs.dispatch([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy, to spoil."""
    shutil.copytree(trained / "model", tmp_path / "model")
    return tmp_path / "model"


def test_graphs_of_a_size_come_out_as_graphml(trained, command):
    said = command("graphs", "sample", trained / "model", "--count", 3, "--nodes", 7)
    assert (said.code, said.err) == (0, "")
    found = [nx.read_graphml(path) for path in sorted(Path("samples").iterdir())]
    assert [len(graph) for graph in found] == [7, 7, 7]
    assert not any(graph.is_directed() for graph in found)
    assert "3 graphs in samples" in said.out


def test_sizes_are_by_default_those_of_the_training_graphs(trained, command):
    command("graphs", "sample", trained / "model", "--count", 12, "--block", 2, "--out", "more")
    sizes = {graph.n_nodes for graph in graph_files.load("more").graphs}
    assert sizes <= {4, 6, 8, 9, 12}
    assert len(sizes) > 1


def test_the_same_seed_gives_the_same_graphs(trained, command):
    for out in ("a", "b"):
        command("graphs", "sample", trained / "model", "--count", 2, "--nodes", 9, "--out", out)
    one, two = graph_files.load("a").graphs, graph_files.load("b").graphs
    assert all(np.array_equal(x.edges, y.edges) for x, y in zip(one, two))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "1 2\n3\n", "a.txt: line 2, '3', names one node, not the two of an edge"),
        ("a.csv", "x,y\ny,y\n", "a.csv: Graph: node 1 has a self-loop"),
        ("a.graphml", "<no", "a.graphml: this is no GraphML: "),
        ("a.edges", "# nothing\n", "a.edges: the graph has no nodes"),
    ],
)
def test_a_file_that_is_no_graph_is_one_line_that_names_it(command, tmp_path, name, text, says):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text(text)
    said = command("graphs", "fit", "mine", *QUICK)
    assert said.code == 1
    assert said.line.startswith(f"tenfold: mine/{says}")
    assert not (tmp_path / "graph-model").exists()


def test_directed_graphs_are_refused(command, tmp_path):
    (tmp_path / "mine").mkdir()
    nx.write_graphml(nx.DiGraph([(0, 1)]), tmp_path / "mine" / "a.graphml")
    said = command("graphs", "fit", "mine")
    assert (said.code, "is directed" in said.line) == (1, True)


def test_a_graph_beyond_n_max_and_an_empty_folder_are_refused(trained, command, tmp_path):
    said = command("graphs", "fit", trained / "mine", "--n-max", 8)
    assert (said.code, said.line.endswith("has 9 nodes, more than the 8 allowed")) == (1, True)
    (tmp_path / "none").mkdir()
    assert "none holds no graphs: no file ends in" in command("graphs", "fit", "none").line
    assert command("graphs", "fit", "nowhere").line == "tenfold: nowhere is not a folder"


def test_an_edge_beyond_the_window_is_refused_before_anything_is_written(
    trained, command, tmp_path
):
    said = command("graphs", "fit", trained / "mine", "--window", 1, *QUICK)
    assert said.code == 1
    assert "mine/graph-0000.graphml: an edge joins nodes" in said.line
    assert "beyond `window`=1" in said.line
    assert not (tmp_path / "graph-model").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("fti", "unknown command of graphs 'fti'; did you mean 'fit'?"),
        ("fit", "graphs fit: Missing from tenfold graphs fit: PATH"),
        ("fit mine --step 3", "unknown option of graphs fit '--step'; did you mean '--steps'?"),
        ("fit mine --steps 0", "graphs fit: --steps must be at least 1, got 0"),
        ("fit mine --learning-rate 0", "graphs fit: --learning-rate must be positive"),
        ("fit mine --learning-rate inf", "graphs fit: --learning-rate must be positive and finite"),
        ("fit mine --seed -1", "graphs fit: --seed must be from 0 to 4294967295, got -1"),
        (f"fit mine --seed {'9' * 20}", "graphs fit: --seed must be from 0 to 4294967295, got 9"),
        (f"sample model --seed {'9' * 20}", "graphs sample: --seed must be from 0 to 4294967295"),
        ("sample model --temperature inf", "graphs sample: --temperature must be positive and fin"),
        ("sample model --count 0", "graphs sample: --count must be at least 1, got 0"),
        (
            "sample model --temperature 0",
            "graphs sample: --temperature must be positive and finite",
        ),
    ],
)
def test_what_is_not_understood_is_one_line(command, words, says):
    said = command("graphs", *words.split())
    assert (said.code, said.out) == (2, "")
    assert said.line.startswith(f"tenfold: {says}")


def test_more_than_the_model_can_is_refused(model, command):
    said = command("graphs", "sample", model, "--nodes", 13)
    assert "--nodes must be at most 12, the model's --n-max, got 13" in said.line
    assert "--block must be at most 2" in command("graphs", "sample", model, "--block", 3).line


def test_samples_are_not_mixed_with_older_ones(model, command, tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "graph-0000.graphml").touch()
    said = command("graphs", "sample", model)
    assert said.line == "tenfold: graphs sample: samples holds graphs already; choose another --out"


def test_a_spoilt_model_is_one_line(model, command):
    assert "nowhere holds no graph model" in command("graphs", "sample", "nowhere").line
    header = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(header | {"sizes": {"n_max": 0}}))
    assert "describes no graph model" in command("graphs", "sample", model).line
    for counts in ([-3], [13], [1.5], []):
        (model / "model.json").write_text(json.dumps(header | {"node_counts": counts}))
        assert "`node_counts` must be numbers of nodes" in command("graphs", "sample", model).line
    (model / "model.json").write_text(json.dumps(header))
    shutil.rmtree(model / "checkpoints")
    assert "the training saved nothing" in command("graphs", "sample", model).line


def test_a_model_is_not_trained_over_with_other_settings(trained, model, command):
    said = command("graphs", "fit", trained / "mine", "--out", model, *QUICK, "--seed", 1)
    assert said.line.endswith("holds a model of other graphs or settings; choose another --out")


@pytest.mark.slow
def test_the_real_command_goes_on_from_its_checkpoint(trained, shell):
    """A second `fit` finds all steps done, and says the same bits."""
    words = ("graphs", "fit", trained / "mine", "--out", trained / "model", *QUICK)
    said = shell(*words)
    assert said.code == 0, said.err
    assert "step" not in said.out.replace("trained 3 steps", "")
    assert "held-out graphs take" in said.out
