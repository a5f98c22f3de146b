"""Reading graphs of four kinds, and refusing what is none."""

import networkx as nx
import numpy as np
import pytest
from graph_problems import PAW, random_graph
from scipy import sparse

from tenfold import gran

EDGES = [[1, 0], [2, 0], [2, 1], [3, 2]]
MATRIX = nx.to_numpy_array(PAW)
KINDS = {
    "networkx": PAW,
    "sparse": sparse.coo_array(MATRIX),
    "dense": MATRIX,
    "one way": np.array(EDGES).T,
    "both ways": np.concatenate([np.array(EDGES), np.array(EDGES)[:, ::-1]]).T,
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_input_give_the_same_graph(kind):
    graph = gran.as_graph(KINDS[kind])
    assert graph.n_nodes == 4
    assert graph.edges.tolist() == EDGES


def test_there_and_back():
    graph = gran.as_graph(random_graph(12, 0.3, 5))
    for back in (graph.to_networkx(), graph.to_scipy(), graph.dense()):
        assert np.array_equal(gran.as_graph(back).edges, graph.edges)
    again = gran.as_graph(graph.to_edge_index(), n_nodes=12)
    assert np.array_equal(again.edges, graph.edges)


def test_labels_come_along():
    graph = nx.Graph()
    graph.add_nodes_from([("a", {"label": 2}), ("b", {"label": 0}), ("c", {"label": 1})])
    graph.add_edge("c", "b", label=4)
    graph.add_edge("a", "b", label=3)
    read = gran.as_graph(graph, node_label="label", edge_label="label")
    assert read.node_labels.tolist() == [2, 0, 1]
    assert read.edge_labels.tolist() == [3, 4]
    turned = read.reorder([2, 1, 0])
    assert turned.node_labels.tolist() == [1, 0, 2]
    assert turned.edge_labels.tolist() == [4, 3]
    back = gran.as_graph(turned.to_networkx(), node_label="label", edge_label="label")
    assert back.edge_labels.tolist() == [4, 3]


def test_a_union_numbers_its_nodes_through():
    graphs = gran.Graphs([nx.path_graph(2), nx.empty_graph(1), nx.path_graph(3)])
    assert graphs.n == len(graphs) == 3
    assert graphs.n_nodes.tolist() == [2, 1, 3]
    assert graphs.senders.tolist() == [1, 4, 5]
    assert graphs.receivers.tolist() == [0, 3, 4]
    assert len(graphs[1:]) == 2


LOOP = nx.Graph([(0, 0)])
WRONG = {
    "directed": (nx.DiGraph([(0, 1)]), "directed"),
    "multigraph": (nx.MultiGraph([(0, 1)]), "multigraph"),
    "loop": (LOOP, "node 0 has a self-loop"),
    "loop in a matrix": (np.eye(3), "self-loop"),
    "not symmetric": (np.triu(np.ones((3, 3)), 1), "not symmetric"),
    "not square": (np.ones((3, 4)), "square"),
    "text": ("graph.xml", "a str, which is no graph"),
    "a number": (7, "no graph"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_simple_graph_is_refused(name):
    graph, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        gran.as_graph(graph)


NAN = np.array([[0, np.nan], [np.nan, 0]])
NO_NUMBERS = {
    "nan": NAN,
    "sparse nan": sparse.coo_array(NAN),
    "infinite": np.array([[0, np.inf], [np.inf, 0]]),
    "words": np.array([["", "a"], ["a", ""]]),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_a_matrix_of_what_is_no_number_is_refused(name):
    with pytest.raises(ValueError, match="must hold finite numbers"):
        gran.as_graph(NO_NUMBERS[name])


def test_lists_and_numpys_numbers_make_a_graph():
    graph = gran.Graph(np.int64(3), [[1, 2], [0, 1]], [2, 0, 1], [5, 4])
    assert graph.n_nodes == 3
    assert graph.edges.tolist() == [[1, 0], [2, 1]]
    assert graph.node_labels.tolist() == [2, 0, 1]
    assert graph.edge_labels.tolist() == [4, 5]
    assert gran.Graph(2, []).n_edges == 0
    assert gran.Graph(2, [[1.0, 0.0]]).edges.dtype == np.int64


def test_bad_fields_are_refused():
    with pytest.raises(ValueError, match=r"between nodes 0 and 1, got \[2, 0\]"):
        gran.Graph(2, np.array([[2, 0]]))
    with pytest.raises(ValueError, match=r"between nodes 0 and 2, got \[1, -1\]"):
        gran.Graph(3, [[1, -1]])
    for edges in ([[1.5, 0]], [[np.nan, 0]], [["1", "0"]]):
        with pytest.raises(ValueError, match="`edges` must be whole numbers"):
            gran.Graph(3, edges)
    with pytest.raises(ValueError, match=r"shape \(edges, 2\), got \(2, 3\)"):
        gran.Graph(3, [[0, 1, 2], [1, 2, 0]])
    with pytest.raises(ValueError, match="`node_labels` must be whole numbers"):
        gran.Graph(2, [[1, 0]], [0.5, 1])
    with pytest.raises(ValueError, match="twice"):
        gran.Graph(2, np.array([[1, 0], [0, 1]]))
    with pytest.raises(ValueError, match="node_labels"):
        gran.Graph(2, np.array([[1, 0]]), np.array([0]))
    with pytest.raises(ValueError, match="each of the 3 nodes once"):
        gran.as_graph(nx.path_graph(3)).reorder([0, 1, 1])
