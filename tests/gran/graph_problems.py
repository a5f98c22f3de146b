"""Graphs with known answers, and slow references that count by looking at every subset."""

from itertools import combinations, product

import equinox as eqx
import jax
import networkx as nx
import numpy as np

from tenfold import gran
from tenfold.gran._batch import Part, assemble, fit, needed
from tenfold.gran._windows import windows

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


def all_graphs(n, kinds=1, labels=0):
    pairs = [(i, j) for i in range(n) for j in range(i)]
    for values in product(range(kinds + 1), repeat=len(pairs)):
        edges = np.array([p for p, v in zip(pairs, values) if v], np.int64).reshape(-1, 2)
        own = np.array([v - 1 for v in values if v], np.int64)
        for nodes in product(range(labels), repeat=n) if labels else [None]:
            yield gran.Graph(n, edges, None if nodes is None else np.array(nodes), own)


@eqx.filter_jit
def totals(model, batch, count):
    steps = gran.step_log_probs(model, batch)
    return jax.ops.segment_sum(steps, batch.step_graph, count)


def log_probs(model, graphs, block, stride, condition=None):
    """log p of each graph's own matrix, all in one batch."""
    parts = []
    for graph in graphs:
        rows = windows(graph.n_nodes, block, stride)
        parts.append(Part(graph, rows, np.ones(len(rows)), block, stride, condition))
    pieces = [part.pieces(model.window) for part in parts]
    shapes = fit(needed(parts, pieces), None)
    batch = assemble(model, parts, pieces, shapes)
    return np.asarray(totals(model, batch, len(graphs) + 1))[: len(graphs)]
