"""What generated graphs are worth in the gran study: bits, discrepancies, validity."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax import Array

from tenfold import gran
from tenfold.gran import metrics
from tenfold.lab.studies._gran_sets import pairs

FAMILY = ("dfs", "bfs", "degree", "degree_asc", "default")
"""The orderings of a bound; on grids and trees `kcore` is `degree`, so it is no sixth."""
AT_ONCE = 8
"""Graphs whose windows go through the network together when they are scored."""


@eqx.filter_jit
def _by_graph(model: Any, batch: Any) -> Array:
    terms = gran.step_log_probs(model, batch)
    return jax.ops.segment_sum(terms, batch.step_graph, batch.shapes.graphs)


def log_probs(
    model: Any, graphs: Sequence[Any], block: int | None = None, stride: int | None = None
) -> np.ndarray:
    """log p of the graphs' own matrices, as many in a program as fit."""
    groups = [graphs[i : i + AT_ONCE] for i in range(0, len(graphs), AT_ONCE)]

    def batch(some: Sequence[Any], shapes: Any) -> Any:
        how = {"blocks": block, "stride": stride, "steps_per_graph": None, "shapes": shapes}
        return gran.make_batch(model, some, "default", key=jax.random.key(0), **how)

    looks = [batch(some, None).shapes for some in groups]
    shapes = gran.Shapes(*map(max, zip(*looks)))
    found = [np.asarray(_by_graph(model, batch(g, shapes)))[: len(g)] for g in groups]
    return np.concatenate(found)


def bits_per_pair(
    model: Any,
    graphs: Sequence[Any],
    orders: Sequence[Any] = ("dfs",),
    *,
    block: int | None = None,
    stride: int | None = None,
) -> float:
    """An upper bound of the negative log-likelihood in bits a pair of nodes, over all graphs.

    As `gran.log_prob`, a matrix that two orderings give counting once; all graphs together.
    """
    turned, owner = [], []
    for i, graph in enumerate(graphs):
        own = [graph.reorder(gran.order(graph, how)) for how in orders]
        different = {each.edges.tobytes(): each for each in own}
        turned += different.values()
        owner += [i] * len(different)
    terms, owners = log_probs(model, turned, block, stride).astype(float), np.array(owner)
    bounds = [np.logaddexp.reduce(terms[owners == i]) for i in range(len(graphs))]
    return -float(np.sum(bounds)) / pairs(graphs) / math.log(2)


def discrepancies(graphs: Sequence[Any], test: Sequence[Any]) -> dict[str, float]:
    """Squared MMD by statistic, as the paper compares; and shares of graphs."""
    found = {f"{name}_mmd": value for name, value in metrics.compare(graphs, test).items()}
    found["lobsters"] = float(np.mean(metrics.validity_lobster(graphs)))
    found["unique"] = metrics.unique(graphs)
    ours, theirs = (sum(g.n_edges for g in x) / sum(g.n_nodes for g in x) for x in (graphs, test))
    return {**found, "edges_per_node": ours / theirs}


def drawable(graphs: Sequence[Any], name: str, count: int = 4) -> dict[str, list[float]]:
    """Edges of a few graphs as one row of numbers, which the figure `graphs` draws."""
    rows = [[g.n_nodes, g.n_edges, *g.edges.ravel().tolist()] for g in graphs[:count]]
    return {f"{name}_graphs": [float(x) for row in rows for x in row]}
