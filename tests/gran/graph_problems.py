"""Graphs with known answers, and slow references that count by looking at every subset."""

from itertools import combinations

import networkx as nx
import numpy as np

STAR = nx.star_graph(3)
PAW = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
DIAMOND = nx.Graph([(0, 1), (1, 2), (2, 0), (1, 3), (2, 3)])
SMALL = {
    "K4": nx.complete_graph(4),
    "C4": nx.cycle_graph(4),
    "P4": nx.path_graph(4),
    "star": STAR,
    "paw": PAW,
    "diamond": DIAMOND,
    "alone": nx.empty_graph(3),
}


def random_graph(n, p, seed):
    return nx.gnp_random_graph(n, p, seed=seed)


def _orbit(size, edges, degree):
    """The orbit of a node of this degree in the connected graph of this size."""
    if (size, edges) == (2, 1):
        return 0
    if size == 3:
        return {2: degree, 3: 3}[edges]
    return {
        (3, "path"): {1: 4, 2: 5},
        (3, "star"): {1: 6, 3: 7},
        (4, "cycle"): {2: 8},
        (4, "paw"): {1: 9, 2: 10, 3: 11},
        (5, ""): {2: 12, 3: 13},
        (6, ""): {3: 14},
    }[edges][degree]


def brute_orbits(graph):
    """Orbit counts (n, 15): each set of up to four nodes is looked at."""
    graph = nx.convert_node_labels_to_integers(graph)
    counts = np.zeros((len(graph), 15), int)
    for size in (2, 3, 4):
        for nodes in combinations(graph, size):
            inner = graph.subgraph(nodes)
            if not nx.is_connected(inner):
                continue
            degrees = dict(inner.degree)
            m, top = inner.number_of_edges(), max(degrees.values())
            shape = {3: {2: "path", 3: "star"}, 4: {2: "cycle", 3: "paw"}}.get(m, {}).get(top, "")
            for node, d in degrees.items():
                counts[node, _orbit(size, (m, shape) if size == 4 else m, d)] += 1
    return counts
