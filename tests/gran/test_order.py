"""Orderings beside networkx, and counts of automorphisms beside the closed forms."""

import math

import networkx as nx
import numpy as np
import pytest
from graph_problems import random_graph

from tenfold import gran
from tenfold.gran._isomorphism import log_automorphisms

GRAPHS = {
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4)),
    "tree": nx.balanced_tree(2, 3),
    "two": nx.disjoint_union(nx.cycle_graph(4), nx.barbell_graph(4, 1)),
    "random": random_graph(15, 0.25, 3),
}


def ascending(graph):
    """The same graph with each node's neighbours in ascending order, which networkx follows."""
    out = nx.Graph()
    out.add_nodes_from(range(len(graph)))
    out.add_edges_from(sorted(tuple(sorted(edge)) for edge in graph.edges))
    return out


def by_networkx(graph, how):
    degrees = dict(graph.degree)
    parts = sorted(nx.connected_components(graph), key=lambda c: (-len(c), min(c)))
    found = []
    for part in parts:
        root = max(sorted(part), key=lambda v: degrees[v])
        if how == "dfs":
            found += nx.dfs_preorder_nodes(graph, root)
        else:
            found += [root, *(v for _, v in nx.bfs_edges(graph, root))]
    return found


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("how", ["dfs", "bfs"])
def test_searches_equal_networkx(name, how):
    graph = ascending(GRAPHS[name])
    assert gran.order(graph, how).tolist() == by_networkx(graph, how)


@pytest.mark.parametrize("name", GRAPHS)
def test_sorted_orders_descend(name):
    graph = ascending(GRAPHS[name])
    degrees = np.array([d for _, d in sorted(graph.degree)])
    cores = np.array([c for _, c in sorted(nx.core_number(graph).items())])
    assert (np.diff(degrees[gran.order(graph, "degree")]) <= 0).all()
    assert (np.diff(degrees[gran.order(graph, "degree_asc")]) >= 0).all()
    keys = (-degrees, -cores)
    assert gran.order(graph, "kcore").tolist() == np.lexsort(keys).tolist()
    assert gran.order(graph, "default").tolist() == list(range(len(graph)))


def test_a_users_function_orders():
    assert gran.order(nx.path_graph(3), lambda g: [2, 0, 1]).tolist() == [2, 0, 1]
    with pytest.raises(ValueError, match="no permutation of the 3 nodes"):
        gran.order(nx.path_graph(3), lambda g: [0, 0, 1])


def test_a_root_is_taken_or_refused():
    assert gran.order(nx.path_graph(4), "bfs", root=3).tolist() == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="`root`=9"):
        gran.order(nx.path_graph(4), "bfs", root=9)
    with pytest.raises(ValueError, match="must be one of"):
        gran.order(nx.path_graph(4), "depth")


COUNTS = {
    "path": (nx.path_graph(5), 2),
    "cycle": (nx.cycle_graph(6), 12),
    "complete": (nx.complete_graph(5), 120),
    "petersen": (nx.petersen_graph(), 120),
    "cube": (nx.hypercube_graph(3), 48),
    "empty": (nx.empty_graph(4), 24),
    "frucht": (nx.frucht_graph(), 1),
    "star": (nx.star_graph(900), math.factorial(900)),
    "tree": (nx.balanced_tree(2, 3), 2**7),
    "edges": (nx.disjoint_union_all([nx.path_graph(2)] * 9), 2**9 * math.factorial(9)),
    "parts": (nx.complete_bipartite_graph(3, 4), 6 * 24),
    "loaded": (nx.disjoint_union(nx.lollipop_graph(4, 2), nx.cycle_graph(5)), 6 * 10),
}


@pytest.mark.parametrize("name", COUNTS)
def test_automorphisms_are_counted(name):
    graph, count = COUNTS[name]
    assert log_automorphisms(gran.as_graph(graph)) == pytest.approx(math.log(count))
