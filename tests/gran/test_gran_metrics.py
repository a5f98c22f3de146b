"""gran.metrics beside enumeration, networkx, and values worked out by hand."""

import jax
import networkx as nx
import numpy as np
import pytest
from graph_problems import DIAMOND, PAW, SMALL, brute_orbits, random_graph

from tenfold import gran
from tenfold.gran import metrics

RANDOM = [random_graph(n, p, seed) for seed, (n, p) in enumerate([(9, 0.3), (8, 0.6), (10, 0.9)])]


def padded(*values):
    return [*values, *[0] * (15 - len(values))]


@pytest.mark.parametrize("name", SMALL)
def test_orbits_of_known_graphs_equal_enumeration(name):
    assert np.array_equal(metrics.orbits([SMALL[name]]), brute_orbits(SMALL[name]))


@pytest.mark.parametrize("graph", RANDOM, ids=["sparse", "middling", "dense"])
def test_orbits_of_random_graphs_equal_enumeration(graph):
    assert np.array_equal(metrics.orbits([graph]), brute_orbits(graph))


def test_orbit_totals_of_the_usual_four():
    """As the ORCA program gives them (measured for the brief)."""
    totals = {name: metrics.orbits([SMALL[name]]).sum(0).tolist() for name in SMALL}
    assert totals["K4"] == padded(12, 0, 0, 12, *[0] * 10, 4)
    assert totals["C4"] == padded(8, 8, 4, 0, 0, 0, 0, 0, 4)
    assert totals["P4"] == padded(6, 4, 2, 0, 2, 2)
    assert totals["star"] == padded(6, 6, 3, 0, 0, 0, 3, 1)


def test_orbits_of_a_union_are_those_of_each():
    both = metrics.orbits(RANDOM)
    assert np.array_equal(both, np.concatenate([metrics.orbits([graph]) for graph in RANDOM]))


def test_rows_equal_networkx():
    graphs = [*RANDOM, *SMALL.values()]
    rows = metrics.degree(graphs), metrics.clustering(graphs), metrics.spectral(graphs)
    for i, graph in enumerate(graphs):
        counts = np.array(nx.degree_histogram(graph)) / len(graph)
        assert np.allclose(rows[0][i][: len(counts)], counts)
        assert rows[0][i].sum() == pytest.approx(1)
        # Moved up a little: 0.29 and the like, rounded, may lie below their bin.
        values = np.minimum(np.array(list(nx.clustering(graph).values())) + 1e-12, 1)
        assert np.allclose(rows[1][i], np.histogram(values, 100, (0, 1))[0] / len(graph))
        matrix = nx.normalized_laplacian_matrix(graph).toarray()
        eigenvalues = np.clip(np.linalg.eigvalsh(matrix), 0, 2)
        ours = gran._histograms.laplacian_eigenvalues(gran.as_graph(graph))
        assert np.allclose(ours, eigenvalues, atol=1e-12)
        assert rows[2][i].sum() == pytest.approx(1)


def test_a_bipartite_graph_keeps_its_eigenvalue_two():
    assert metrics.spectral([nx.grid_2d_graph(3, 4)])[0, -1] == pytest.approx(1 / 12)


def test_mmd_of_a_path_and_a_triangle():
    """Degrees (0, 2/3, 1/3) and (0, 0, 1) are 2/3 apart; clusterings 0 and 1 are 1 apart."""
    path, triangle = [nx.path_graph(3)], [nx.complete_graph(3)]
    value = metrics.mmd(metrics.degree(path), metrics.degree(triangle))
    assert value == pytest.approx(2 - 2 * np.exp(-2 / 9), abs=1e-14)
    assert metrics.compare(path, triangle)["clustering"] == pytest.approx(2, abs=1e-14)
    # By earth mover the degrees are 2/3 apart too, the clusterings 99 bins of 1/100.
    mover = metrics.compare(path, triangle, statistics=metrics.EARTH_MOVER)
    assert mover["degree"] == pytest.approx(2 - 2 * np.exp(-2 / 9), abs=1e-14)
    assert mover["clustering"] == pytest.approx(2 - 2 * np.exp(-(9.9**2) / 2), abs=1e-14)


def test_mmd_of_the_official_grids():
    """The last 20 of the grids of 10..19 x 10..19 beside the first 20."""
    grids = [nx.grid_2d_graph(i, j) for i in range(10, 20) for j in range(10, 20)]
    found = {
        name: metrics.mmd(s.rows(grids[80:]), s.rows(grids[:20]), sigma=s.sigma)
        for name, s in metrics.TOTAL_VARIATION.items()
    }
    assert found["degree"] == pytest.approx(0.0050006, abs=5e-8)
    assert found["orbit"] == pytest.approx(0.0070001, abs=5e-8)
    assert found["clustering"] == 0
    # 0.0243 or so where an eigenvalue 2 that rounding moved out of range is lost (measured).
    assert found["spectral"] == pytest.approx(0.0240908, abs=5e-8)


def test_distances_equal_their_definitions():
    rng = np.random.default_rng(0)
    x, y = rng.dirichlet(np.ones(6), 3), rng.dirichlet(np.ones(6), 2)
    gap = x[:, None] - y[None]
    assert np.allclose(metrics.total_variation(x, y), abs(gap).sum(-1) / 2)
    moved = abs(np.cumsum(gap, -1)).sum(-1) * 0.5
    assert np.allclose(metrics.earth_mover(x, y, width=0.5), moved)


def test_the_interval_covers_the_value_and_narrows(getkey):
    rng = np.random.default_rng(1)
    widths = []
    for n in (10, 80):
        x, y = rng.dirichlet(np.ones(5), n), rng.dirichlet(3 * np.ones(5), n)
        interval = metrics.mmd_interval(x, y, sigma=0.2, key=getkey())
        assert interval.low <= interval.value == metrics.mmd(x, y, sigma=0.2) <= interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0]


def test_lobsters_are_told_from_other_graphs():
    """A comb with teeth of two nodes is one; with teeth of three, not; nor is a cycle or two."""
    comb = nx.path_graph(6)
    long = comb.copy()
    for i in range(6):
        nx.add_path(comb, [i, ("a", i), ("b", i)])
        nx.add_path(long, [i, ("a", i), ("b", i), ("c", i)])
    pair = nx.disjoint_union(nx.path_graph(3), nx.path_graph(2))
    spider = nx.Graph([(0, i) for i in (1, 2, 3)] + [(i, i + 3) for i in (1, 2, 3)])
    graphs = [comb, long, nx.path_graph(1), nx.cycle_graph(5), pair, spider]
    assert metrics.validity_lobster(graphs).tolist() == [True, False, True, False, False, True]


def test_isomorphism_agrees_with_networkx():
    """Among them regular graphs, which colours alone don't tell apart."""
    two = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    shuffled = nx.relabel_nodes(RANDOM[0], dict(enumerate([3, 1, 0, 2, 8, 7, 4, 5, 6])))
    prism = nx.circular_ladder_graph(3)
    others = [nx.cycle_graph(6), two, prism, nx.complete_bipartite_graph(3, 3), PAW, DIAMOND]
    graphs = [*others, RANDOM[0], shuffled]
    for a in graphs:
        for b in graphs:
            expected = nx.is_isomorphic(a, b)
            assert metrics.isomorphic(gran.as_graph(a), gran.as_graph(b)) == expected


def test_labels_count_in_isomorphism():
    path = np.array([[1, 0], [2, 1]])
    ends = [gran.Graph(3, path, np.array(v)) for v in ([0, 1, 1], [1, 1, 0], [1, 0, 1])]
    assert metrics.isomorphic(ends[0], ends[1])
    assert not metrics.isomorphic(ends[0], ends[2])
    assert metrics.isomorphic(ends[0], gran.Graph(3, path))  # with and without: the structure
    links = [gran.Graph(3, path, None, np.array(v)) for v in ([0, 1], [1, 0], [1, 1])]
    assert metrics.isomorphic(links[0], links[1])
    assert not metrics.isomorphic(links[0], links[2])


def shuffled(graph, seed):
    return graph.reorder(np.random.default_rng(seed).permutation(graph.n_nodes))


def test_labelled_graphs_are_told_apart_as_by_networkx():
    """Sparse graphs of 6 nodes, with trees and twins, of two labels and two kinds of edges."""

    def same(a, b):
        def both(x, y):
            return x.get("label") == y.get("label")

        return nx.is_isomorphic(a.to_networkx(), b.to_networkx(), both, both)

    rng = np.random.default_rng(0)
    graphs = []
    for seed in range(18):
        plain = gran.as_graph(random_graph(6, 0.3, seed % 6))
        kinds = rng.integers(2, size=plain.n_edges)
        graphs.append(gran.Graph(6, plain.edges, rng.integers(2, size=6) * (seed % 3 > 0), kinds))
    graphs += [shuffled(graph, 1) for graph in graphs]
    found = [[metrics.isomorphic(a, b) for b in graphs] for a in graphs]
    assert found == [[same(a, b) for b in graphs] for a in graphs]
    assert np.trace(found, 18) == 18


ALIKE = {
    "alone": nx.disjoint_union(nx.path_graph(5), nx.empty_graph(1500)),
    "leaves": nx.disjoint_union(nx.star_graph(1500), nx.cycle_graph(3)),
    "clique": nx.complete_graph(120),
    "rings": nx.disjoint_union_all([nx.cycle_graph(5)] * 150),
    "rings at a hub": nx.Graph(
        [("hub", 5 * k) for k in range(100)]
        + [(5 * k + i, 5 * k + (i + 1) % 5) for k in range(100) for i in range(5)]
    ),
    "path": nx.path_graph(2000),
}


@pytest.mark.parametrize("name", ALIKE)
def test_thousands_of_nodes_that_are_alike_are_no_trouble(name):
    graph = gran.as_graph(ALIKE[name])
    assert metrics.isomorphic(graph, shuffled(graph, 0))
    assert metrics.unique([graph, shuffled(graph, 1)]) == 0.5


def test_sparse_random_graphs_are_compared():
    graph = gran.baselines.erdos_renyi(2000, 1 / 2000, key=jax.random.key(0))
    edges = graph.edges.copy()
    moved = gran.Graph(2000, np.concatenate([edges[1:], [spare_pair(graph)]]))
    assert metrics.novel([shuffled(graph, 0), moved], [graph]) == 0.5


def spare_pair(graph):
    """Two nodes that the graph leaves alone."""
    return np.flatnonzero(graph.degrees == 0)[[1, 0]]


def test_unique_and_novel_are_shares():
    graphs = [nx.path_graph(4), PAW, nx.path_graph(4), DIAMOND]
    assert metrics.unique(graphs) == 0.75
    assert metrics.novel(graphs, [PAW, nx.path_graph(5)]) == 0.75


def test_graphs_without_labels_are_compared_with_labelled_ones_by_structure():
    path = np.array([[1, 0], [2, 1]])
    labelled = [gran.Graph(3, path, np.array(v), np.array([0, 1])) for v in ([0, 1, 1], [1, 1, 1])]
    plain = [gran.Graph(3, path), gran.Graph(3, path[:1])]
    assert (
        metrics.novel(plain, labelled) == metrics.novel(labelled[:1] + plain[1:], plain[:1]) == 0.5
    )
    assert metrics.novel(labelled[1:], labelled[:1]) == 1
    assert metrics.unique(labelled) == 1
    assert metrics.unique([*labelled, *plain]) == 0.5


def test_empty_input_is_refused():
    with pytest.raises(ValueError, match="`graphs` must hold at least one"):
        metrics.degree([])
    with pytest.raises(ValueError, match="unique: `graphs` must hold at least one graph"):
        metrics.unique([])
    with pytest.raises(ValueError, match="novel: `graphs` must hold at least one graph"):
        metrics.novel([], [PAW])
    with pytest.raises(ValueError, match="at least one node"):
        metrics.degree([nx.empty_graph(0)])
    with pytest.raises(ValueError, match="`sigma` > 0"):
        metrics.mmd(np.ones((1, 2)), np.ones((1, 2)), sigma=0.0)
