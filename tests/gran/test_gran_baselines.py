"""The rivals: laws of the random graphs, and GraphRNN-S's likelihood beside enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold import gran
from tenfold.gran import baselines


def test_erdos_renyi_has_the_density_that_was_asked_for(getkey):
    """200 graphs of 20 nodes at 0.3; |z| < 4."""
    edges = [
        baselines.erdos_renyi(20, 0.3, key=key).n_edges for key in jax.random.split(getkey(), 200)
    ]
    z = (np.sum(edges) - 200 * 190 * 0.3) / np.sqrt(200 * 190 * 0.3 * 0.7)
    assert abs(z) < 4
    assert baselines.erdos_renyi(5, 1, key=getkey()).n_edges == 10
    assert baselines.erdos_renyi(5, 0, key=getkey()).n_edges == 0


def test_the_configuration_model_keeps_degrees_but_for_what_is_left_out(getkey):
    degrees = gran.grid(6, 7).degrees
    graph = baselines.configuration(degrees, key=getkey())
    assert (graph.degrees <= degrees).all()
    assert graph.degrees.sum() > 0.8 * degrees.sum()


def every_graph(n):
    pairs = [(i, j) for i in range(n) for j in range(i)]
    for chosen in itertools.product((False, True), repeat=len(pairs)):
        edges = np.array([p for p, c in zip(pairs, chosen) if c], np.int64).reshape(-1, 2)
        yield gran.Graph(n, edges)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_graph_rnn_sums_to_one_over_all_matrices_of_a_size(n, getkey):
    """Also where a graph has fewer nodes than the rows have room for."""
    model = baselines.GraphRNNS(5, 4, 6, key=getkey())
    total = jnp.sum(jnp.exp(model.log_prob(model.rows(list(every_graph(n))))))
    assert float(total) == pytest.approx(1, rel=1e-5)


def test_graph_rnn_draws_what_its_likelihood_says(getkey):
    """4,000 graphs of 3 nodes beside exp(log_prob) of all 8; chi-square, 7 degrees, below 30."""
    model = baselines.GraphRNNS(4, 2, 6, key=getkey())
    graphs = list(every_graph(3))
    p = np.exp(np.asarray(model.log_prob(model.rows(graphs))))
    names = {g.edges.tobytes(): i for i, g in enumerate(graphs)}
    drawn = model.sample([3] * 4000, key=getkey())
    counts = np.bincount([names[g.edges.tobytes()] for g in drawn], minlength=8)
    assert np.sum((counts - 4000 * p) ** 2 / (4000 * p)) < 30


def test_graph_rnn_refuses_what_its_rows_cannot_hold(getkey):
    model = baselines.GraphRNNS(5, 2, 6, key=getkey())
    with pytest.raises(ValueError, match="reach back by 4; `n_max`=5, `band`=2"):
        model.rows([gran.Graph(5, np.array([[4, 0]]))])
    assert baselines.band_of([gran.grid(3, 4)]) == 4


def test_bad_arguments_are_refused(getkey):
    with pytest.raises(ValueError, match="density"):
        baselines.erdos_renyi(3, 1.5, key=getkey())
    with pytest.raises(ValueError, match="even sum"):
        baselines.configuration([1, 2], key=getkey())
    with pytest.raises(ValueError, match="`band`"):
        baselines.GraphRNNS(5, 0, key=getkey())
