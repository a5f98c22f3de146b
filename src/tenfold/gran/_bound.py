"""log p of a graph: exact for an ordering, a bound over orderings. The packing is *host*."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tenfold.base.mc import logmeanexp
from tenfold.base.typing import Key
from tenfold.gran._batch import Batch, Part, Shapes, assemble, fit, needed
from tenfold.gran._graph import Graph, as_graph
from tenfold.gran._isomorphism import log_automorphisms
from tenfold.gran._likelihood import step_log_probs
from tenfold.gran._model import GRAN, Whole, check_condition, check_graph, check_sizes
from tenfold.gran._order import Ordering, order, several
from tenfold.gran._train import host_rng
from tenfold.gran._windows import windows

EDGES = 1 << 16
"""Windows go through the network in groups of about so many edges, which bounds the memory."""


class Bound(eqx.Module):
    """A lower bound of log p(graph | size), and what it is made of."""

    value: Float[Array, ""]
    terms: Float[Array, " matrices"]
    """log p of each distinct matrix; one ordering's is exact for that matrix."""
    orders: tuple[Any, ...] = eqx.field(static=True)
    """For each term, the orderings that give its matrix."""
    n_nodes: int = eqx.field(static=True)

    @property
    def bits_per_pair(self) -> Array:
        """An *upper bound* of the negative log-likelihood in bits a pair of nodes."""
        pairs = max(1, self.n_nodes * (self.n_nodes - 1) // 2)
        return -self.value / (pairs * math.log(2))


def log_prob(
    model: GRAN,
    graph: Any,
    orders: Ordering | Sequence[Ordering] = ("dfs",),
    *,
    block: Whole | None = None,
    stride: Whole | None = None,
    condition: Any = None,
    start: int = 0,
) -> Bound:
    r"""log p(G | n) >= logsumexp over the distinct matrices of `orders` of log p(matrix).

    For `orders=("default",)` the value is log p of the graph's own matrix, and sums to one over
    all matrices of n nodes. Add log p(n) where sizes are random too. A matrix that several
    orderings give counts once. Differentiable in the model.

    **Arguments:** `orders`: one or some. `block`, `stride`: the model's by default. `start`: rows
    before it are given, and not counted.

    **Raises:** ValueError for a graph that the model can't give in one of the orders, a condition
    of another length, or a `start` beyond the graph.
    """
    check_condition(model, condition)
    graph = as_graph(graph)
    if not 0 <= start <= graph.n_nodes:
        raise ValueError(
            f"log_prob: `start` must be from 0 to the graph's {graph.n_nodes} nodes, got {start}"
        )
    found: dict[bytes, tuple[Graph, list]] = {}
    for how in several(orders):
        turned = graph.reorder(order(graph, how))
        found.setdefault(_matrix(turned), (turned, []))[1].append(how)
    if not found:
        raise ValueError("log_prob: `orders` must name at least one ordering")
    terms = jnp.stack(
        [matrix_log_prob(model, g, block, stride, condition, start) for g, _ in found.values()]
    )
    names = tuple(tuple(names) for _, names in found.values())
    return Bound(jax.nn.logsumexp(terms), terms, names, graph.n_nodes)


def _matrix(graph: Graph) -> bytes:
    labels = [x for x in (graph.edges, graph.node_labels, graph.edge_labels) if x is not None]
    return b"|".join(x.tobytes() for x in labels)


def matrix_log_prob(
    model: GRAN, graph: Graph, block: Any, stride: Any, condition: Any, start: int = 0
) -> Float[Array, ""]:
    """log p of the graph's own matrix: its windows in groups of one shape, hence one program."""
    block, stride = check_sizes(model, block, stride)
    check_graph(model, graph)
    told = None if condition is None else np.asarray(condition)
    rows = windows(graph.n_nodes, block, stride, start)
    sizes = _edges_of(graph, rows, block, model.window)
    groups = np.split(rows, np.flatnonzero(np.diff(np.cumsum(sizes) // EDGES)) + 1)
    parts = [
        [Part(graph, some, np.ones(len(some)), block, stride, told)] for some in groups if len(some)
    ]
    pieces = [[part.pieces(model.window) for part in each] for each in parts]
    least = [needed(*each) for each in zip(parts, pieces)]
    total = jnp.zeros((), model.offset.dtype)
    if not parts:
        return total
    shapes = fit(Shapes(*map(max, zip(*least))), None)
    for each, some in zip(parts, pieces):
        total = total + _total(model, assemble(model, each, some, shapes))
    return total


@eqx.filter_jit
def _total(model: GRAN, batch: Batch) -> Array:
    return jnp.sum(step_log_probs(model, batch))


def _edges_of(graph: Graph, rows: np.ndarray, block: int, window: int | None) -> np.ndarray:
    old = np.minimum(rows, window or graph.n_nodes)
    known = np.searchsorted(graph.edges[:, 0], rows)
    first = np.searchsorted(graph.edges[:, 0], rows - old)
    return 2 * (known - first) + block * (2 * old + block)


def random_log_prob(
    model: GRAN,
    graph: Any,
    how: str = "uniform",
    *,
    samples: int = 16,
    block: Whole | None = None,
    stride: Whole | None = None,
    condition: Any = None,
    key: Key,
) -> Bound:
    r"""log of an unbiased estimate of p(G | n), from random orderings; below log p(G) in the mean.

    $$p(G) = \sum_A p(A) = E_\pi\left[ p(A^\pi) / q(A^\pi) \right]$$

    - `uniform`: all orderings; q(A) = |Aut G| / n!, and the sum is over all matrices of G.
    - `dfs`, `bfs`: from a random root; q(A) is the share of the roots that give A, and the sum is
      over the matrices of all roots, which bounds p(G) from below.

    `terms` are log p(A) - log q(A). Not differentiable without bias in the log: use it to report.

    **Cost:** `samples` likelihoods; `dfs` and `bfs` order the graph n times, `uniform` counts its
    automorphisms, which is slow for some very regular graphs.
    """
    check_condition(model, condition)
    graph, rng = as_graph(graph), host_rng(key)
    if how not in ("uniform", "dfs", "bfs") or samples < 1 or graph.n_nodes < 1:
        raise ValueError(
            "random_log_prob: `how` is 'uniform', 'dfs' or 'bfs', `samples` >= 1, and `graph` has "
            f"a node; got {how!r}, {samples}, {graph.n_nodes} nodes"
        )
    drawn = _uniform(graph, samples, rng) if how == "uniform" else _rooted(graph, how, samples, rng)
    seen: dict[bytes, Array] = {}
    terms = []
    for turned, log_q in drawn:
        name = _matrix(turned)
        if name not in seen:
            seen[name] = matrix_log_prob(model, turned, block, stride, condition)
        terms.append(seen[name] - log_q)
    stacked = jnp.stack(terms)
    return Bound(logmeanexp(stacked), stacked, tuple((how,) for _ in terms), graph.n_nodes)


def _uniform(graph: Graph, samples: int, rng: np.random.Generator):
    log_q = log_automorphisms(graph) - math.lgamma(graph.n_nodes + 1)
    return [(graph.reorder(rng.permutation(graph.n_nodes)), log_q) for _ in range(samples)]


def _rooted(graph: Graph, how: Any, samples: int, rng: np.random.Generator):
    turned = [graph.reorder(order(graph, how, root=root)) for root in range(graph.n_nodes)]
    names = [_matrix(each) for each in turned]
    roots = rng.integers(graph.n_nodes, size=samples)
    return [(turned[r], math.log(names.count(names[r]) / graph.n_nodes)) for r in roots]
