"""Orderings of a graph's nodes: what makes one matrix of a graph. *Host.*"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Int

from tenfold.gran._graph import Graph, as_graph
from tenfold.gran._isomorphism import components

Name = Literal["default", "degree", "degree_asc", "bfs", "dfs", "kcore"]
if TYPE_CHECKING:
    Ordering = Name | Callable[[Graph], Any]
else:
    Ordering = str | Callable  # another name meets our own message, where types are checked too
"""A name, or a function from a `Graph` to a permutation of its nodes."""
Permutation = Int[np.ndarray, " nodes"]


def several(orders: Ordering | Sequence[Ordering]) -> Sequence[Any]:
    """One ordering or some, as a list."""
    return [orders] if isinstance(orders, str) or callable(orders) else list(orders)


def order(graph: Any, how: Ordering, *, root: int | None = None) -> Permutation:
    """The nodes of `graph` in an order; entry i is the node that becomes row i. *Host.*

    **Arguments:** `how`, where ties go to the smaller number:

    - `default`: as they are numbered.
    - `degree`, `degree_asc`: by degree, the largest or the smallest first.
    - `bfs`, `dfs`: breadth or depth first from the node of largest degree; components by size,
      the largest first; neighbours by number.
    - `kcore`: by core number, the largest first, then by degree, the largest first.
    - a function of the `Graph`.

    `root`: for `bfs` and `dfs`, another node to start from.

    **Raises:** ValueError for another name, a root for another ordering, or a function that gives
    no permutation. (arXiv 1910.00760, its families of canonical orderings.)
    """
    graph = as_graph(graph)
    if callable(how):
        return _checked(graph, np.asarray(how(graph)))
    if how not in get_args(Name):
        raise ValueError(f"order: `how` must be one of {get_args(Name)} or callable, got {how!r}")
    if root is not None and (how not in ("bfs", "dfs") or not 0 <= root < graph.n_nodes):
        raise ValueError(f"order: `root`={root} is for 'bfs' and 'dfs', one of {graph.n_nodes}")
    if how in ("bfs", "dfs"):
        return _by_search(graph, _breadth if how == "bfs" else _depth, root)
    degrees = graph.degrees
    if how == "default":
        return np.arange(graph.n_nodes)
    keys = {"degree": (-degrees,), "degree_asc": (degrees,)}
    return np.lexsort(keys[how] if how in keys else (-degrees, -_core_numbers(graph)))


def _checked(graph: Graph, ordering: np.ndarray) -> np.ndarray:
    if not np.array_equal(np.sort(ordering.ravel()), np.arange(graph.n_nodes)):
        raise ValueError(
            f"order: `how` gave no permutation of the {graph.n_nodes} nodes, but "
            f"{ordering.dtype}{list(ordering.shape)}"
        )
    return ordering.astype(np.int64)


def neighbours(graph: Graph) -> list[list[int]]:
    """The neighbours of each node, ascending. *Host.*"""
    senders, receivers = graph.to_edge_index()
    ends = np.cumsum(np.bincount(receivers, minlength=graph.n_nodes))[:-1]
    return [part.tolist() for part in np.split(senders, ends)]


def _by_search(graph: Graph, search: Callable, root: int | None) -> np.ndarray:
    if graph.n_nodes == 0:
        return np.zeros(0, np.int64)
    component, near = components(graph), neighbours(graph)
    sizes = np.bincount(component)
    # Roots by size of their component, then by degree: the first of each component counts.
    ranked = np.lexsort((-graph.degrees, component, -sizes[component]))
    if root is not None:
        ranked = np.concatenate([[root], ranked])
    seen = np.zeros(graph.n_nodes, bool)
    found: list[int] = []
    for start in ranked.tolist():
        if not seen[start]:
            search(start, near, seen, found)
    return np.array(found, np.int64)


def _breadth(start: int, near: list[list[int]], seen: np.ndarray, found: list[int]) -> None:
    seen[start] = True
    queue = [start]
    for node in queue:  # grows as it is walked
        fresh = [other for other in near[node] if not seen[other]]
        seen[fresh] = True
        queue += fresh
    found += queue


def _depth(start: int, near: list[list[int]], seen: np.ndarray, found: list[int]) -> None:
    stack = [start]
    while stack:
        node = stack.pop()
        if not seen[node]:
            seen[node] = True
            found.append(node)
            stack += [other for other in reversed(near[node]) if not seen[other]]


def _core_numbers(graph: Graph) -> np.ndarray:
    """The largest k for which the node lies in a subgraph of degrees >= k."""
    near = neighbours(graph)
    left = graph.degrees.copy()
    core = np.zeros(graph.n_nodes, np.int64)
    alive = np.ones(graph.n_nodes, bool)
    k = 0
    while alive.any():
        weak = np.flatnonzero(alive & (left <= k)).tolist()
        if not weak:
            k += 1
        for node in weak:
            alive[node] = False
            core[node] = k
            left[near[node]] -= 1
    return core
