"""Grids and lobsters, the graphs made by rule in the paper's experiments. *Host.*"""

from typing import Any

import jax
import numpy as np

from tenfold.base.typing import Key
from tenfold.gran._graph import Graph

Number = int | float


def grid(rows: int, columns: int) -> Graph:
    """The grid of `rows` x `columns` nodes, numbered row by row. *Host.*

    **Raises:** ValueError for a side below 1.
    """
    if min(rows, columns) < 1:
        raise ValueError(f"grid: `rows` and `columns` must be >= 1, got {rows}, {columns}")
    number = np.arange(rows * columns).reshape(rows, columns)
    across = np.stack([number[:, 1:], number[:, :-1]], axis=-1).reshape(-1, 2)
    down = np.stack([number[1:], number[:-1]], axis=-1).reshape(-1, 2)
    return Graph(rows * columns, np.concatenate([across, down]))


def lobster(mean_spine: Number, p1: Number = 0.7, p2: Number = 0.7, *, key: Key) -> Graph:
    """A random lobster: a path whose nodes bear a leg with `p1`, and the leg a claw with `p2`.

    The path has round(2 u `mean_spine`) nodes, u uniform on [0, 1], and one at least. (As networkx
    drew them up to version 2; later ones grow several legs a node.) *Host.*

    **Raises:** ValueError for probabilities outside [0, 1] or a mean that is not positive.
    """
    if not (0 <= p1 <= 1 and 0 <= p2 <= 1 and mean_spine > 0):
        raise ValueError(
            f"lobster: `mean_spine` > 0, `p1`, `p2` in [0, 1], got {mean_spine}, {p1}, {p2}"
        )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    spine = max(1, int(2 * rng.random() * mean_spine + 0.5))
    edges = [(i + 1, i) for i in range(spine - 1)]
    n = spine
    for i in range(spine):
        if rng.random() < p1:
            edges.append((n, i))
            n += 1
            if rng.random() < p2:
                edges.append((n, n - 1))
                n += 1
    return Graph(n, np.array(edges, np.int64).reshape(-1, 2))


def lobsters(
    count: int, *, mean_spine: Number = 80, least: int = 10, most: int = 100, key: Key, **legs: Any
) -> list[Graph]:
    """`count` random lobsters of `least` to `most` nodes, others being drawn again. *Host.*

    By default those of arXiv 1910.00760, whose "80" is the mean of the path.
    """
    if not 1 <= least <= most:
        raise ValueError(f"lobsters: 1 <= `least` <= `most` is needed, got {least}, {most}")
    found: list[Graph] = []
    i = 0
    while len(found) < count:
        graph = lobster(mean_spine, key=jax.random.fold_in(key, i), **legs)
        i += 1
        if least <= graph.n_nodes <= most:
            found.append(graph)
        elif i > 100 * (count + 10):
            raise ValueError(
                f"lobsters: hardly any has {least} to {most} nodes with `mean_spine`={mean_spine}"
            )
    return found
