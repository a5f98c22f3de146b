"""The graphs of the gran study, and what is compared with them that needs no training."""

from functools import cache
from typing import Any, Literal

import jax
import numpy as np

from tenfold import gran
from tenfold.gran import baselines
from tenfold.lab.data import dd, firstmm_db, grids, lobsters, proteins

Name = Literal["grids", "lobsters", "firstmm_db", "proteins", "dd"]
PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")


@cache
def graphs(
    name: Name, least: int, most: int, seed: int, count: int = 100
) -> tuple[tuple[Any, ...], ...]:
    """Graphs to train on and to test on: a shuffled split, of the seed.

    `least` and `most`: sides of grids; else nodes, others being left out. `count`: of lobsters.
    """
    if name == "grids":
        return tuple(grids.load(part, seed, least=least, most=most).graphs for part in PARTS)
    if name == "lobsters":
        size = {"least": least, "most": most, "mean_spine": 0.8 * most if most > 50 else most / 3}
        return tuple(lobsters.load(part, seed, count=count, **size).graphs for part in PARTS)
    if name == "firstmm_db":
        whole = [firstmm_db.load(part, seed).graphs for part in PARTS]
    else:
        source = {"proteins": proteins, "dd": dd}[name]
        whole = [source.load(part, seed, least=least, most=most).graphs for part in PARTS]
    plain = [[gran.Graph(g.n_nodes, g.edges) for g in part] for part in whole]
    return tuple(tuple(g for g in part if least <= g.n_nodes <= most) for part in plain)


def chosen(config: Any, seed: int, lobster: bool = False) -> tuple[tuple[Any, ...], ...]:
    """The seed's graphs to train on and to test on: lobsters, or what the config names."""
    if lobster:
        sizes = config.lobster_least, config.lobster_most
        return graphs("lobsters", *sizes, seed, config.lobster_count)
    return graphs(config.graphs, config.least, config.most, seed)


def whole(config: Any, lobster: bool) -> tuple[tuple[Any, ...], int]:
    """All graphs, and the most nodes that one may have: the same for all seeds."""
    found = sum(chosen(config, 0, lobster), ())
    return found, config.lobster_most if lobster else max(g.n_nodes for g in found)


def density(graph: Any) -> float:
    """2 E / (n (n - 1)), the share of pairs that are edges."""
    return graph.n_edges / pairs([graph])


def pairs(graphs: Any) -> int:
    return max(1, sum(g.n_nodes * (g.n_nodes - 1) // 2 for g in graphs))


def erdos_renyi(train: Any, n: int, key: jax.Array) -> list[Any]:
    """`n` graphs, each of the size and density of a training graph."""
    keys = jax.random.split(key, n)
    models = _drawn(train, n, key)
    return [baselines.erdos_renyi(g.n_nodes, density(g), key=k) for g, k in zip(models, keys)]


def configuration(train: Any, n: int, key: jax.Array) -> list[Any]:
    """`n` graphs, each with the degrees of a training graph."""
    keys = jax.random.split(key, n)
    models = _drawn(train, n, key)
    return [baselines.configuration(g.degrees, key=k) for g, k in zip(models, keys)]


def themselves(train: Any, n: int, key: jax.Array) -> list[Any]:
    """The training graphs: what even graphs of the right law get, the floor."""
    del n, key
    return list(train)


def _drawn(train: Any, n: int, key: jax.Array) -> list[Any]:
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return [train[i] for i in rng.integers(len(train), size=n)]
