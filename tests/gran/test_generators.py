"""Grids are networkx's, lobsters are lobsters of the sizes asked for."""

import jax
import networkx as nx
import numpy as np
import pytest

from helpers import assert_unbiased
from tenfold import gran
from tenfold.gran import metrics


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (3, 4)])
def test_a_grid_is_that_of_networkx(rows, columns):
    expected = nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns))
    assert np.array_equal(gran.grid(rows, columns).edges, gran.as_graph(expected).edges)


def test_lobsters_are_lobsters_of_the_sizes_asked_for(getkey):
    graphs = gran.lobsters(30, mean_spine=12, least=8, most=25, key=getkey())
    assert metrics.validity_lobster(graphs).all()
    assert all(8 <= graph.n_nodes <= 25 for graph in graphs)
    assert metrics.unique(graphs) > 0.9


def test_legs_and_claws_come_with_their_probabilities(getkey):
    """E[nodes a spine node] = 1 + p1 (1 + p2), over 400 lobsters; the spine is not bent."""
    keys = jax.random.split(getkey(), 400)
    bare = [gran.lobster(20, 0, 0, key=key) for key in keys]
    full = [gran.lobster(20, 0.5, 0.4, key=key) for key in keys]
    assert all(g.n_edges == g.n_nodes - 1 for g in bare)
    assert_unbiased([f.n_nodes - 1.7 * b.n_nodes for f, b in zip(full, bare)], 0)


def test_bad_sizes_are_refused(getkey):
    with pytest.raises(ValueError, match="`rows` and `columns`"):
        gran.grid(0, 3)
    with pytest.raises(ValueError, match="`p1`"):
        gran.lobster(5, 1.5, key=getkey())
    with pytest.raises(ValueError, match="`least` <= `most`"):
        gran.lobsters(1, least=5, most=4, key=getkey())
    with pytest.raises(ValueError, match="hardly any"):
        gran.lobsters(1, mean_spine=2, least=90, key=getkey())
