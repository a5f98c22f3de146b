"""The border to networkx: the one place below the lab that may import it. *Host.*"""

from typing import Any

import numpy as np


def looks_like_networkx(graph: Any) -> bool:
    """By its methods, so that nothing is imported."""
    return all(hasattr(graph, name) for name in ("is_directed", "is_multigraph", "nodes", "edges"))


def from_networkx(graph: Any, node_label: str | None, edge_label: str | None):
    """The fields of a `Graph`; ValueError if it is directed, a multigraph, or lacks a label."""
    for wrong, what in ((graph.is_directed(), "directed"), (graph.is_multigraph(), "a multigraph")):
        if wrong:
            raise ValueError(f"as_graph: `graph` is {what}; only simple undirected ones are taken")
    place = {node: i for i, node in enumerate(graph.nodes)}
    nodes = None
    if node_label is not None:
        nodes = _labels("node_label", node_label, [data for _, data in graph.nodes(data=True)])
    if edge_label is None:
        return len(place), _pairs(graph, place), nodes, None
    pairs = [(place[a], place[b]) for a, b in graph.edges]
    links = _labels("edge_label", edge_label, [data for *_, data in graph.edges(data=True)])
    return len(place), np.array(pairs, np.int64).reshape(-1, 2), nodes, links


def _pairs(graph: Any, place: dict) -> np.ndarray:
    """Edges from the neighbour lists: several times faster than networkx's own list of edges."""
    near = [others for _, others in graph.adjacency()]
    ends = np.repeat(np.arange(len(near)), [len(others) for others in near])
    others = np.fromiter((place[b] for each in near for b in each), np.int64, len(ends))
    return np.stack([ends, others], axis=1)[ends >= others]


def _labels(argument: str, name: str, data: list[dict]) -> np.ndarray:
    values = [each.get(name) for each in data]
    if not all(isinstance(value, int | np.integer) for value in values):
        raise ValueError(f"as_graph: `{argument}`={name!r} is not a whole number everywhere")
    return np.array(values, np.int64)


def to_networkx(n: int, edges: np.ndarray, nodes: np.ndarray | None, links: np.ndarray | None):
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges.tolist())
    if nodes is not None:
        networkx.set_node_attributes(graph, dict(enumerate(nodes.tolist())), "label")
    if links is not None:
        values = dict(zip(map(tuple, edges.tolist()), links.tolist()))
        networkx.set_edge_attributes(graph, values, "label")
    return graph
