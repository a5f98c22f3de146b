"""What sampling costs: against the size, against the block, in programs and in memory."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from tenfold import gran
from tenfold.base.typing import Key
from tenfold.gran._draw import Limits
from tenfold.gran._grow import Plan, grow
from tenfold.gran._known import room, start_from
from tenfold.lab.run import Run

SIZES = (0.14, 0.2, 0.28, 1.0)
"""Shares of the largest size: 50, 73, 100 and 361 nodes of 361."""


def _model(config: Any, key: Key, n_max: int, **options: Any) -> Any:
    """Untrained, and as sparse as grids: what sampling costs depends on the edges alone."""
    build = eqx.filter_jit(
        lambda key: gran.GRAN(
            n_max, config.hidden, config.rounds, config.mixtures, gate=config.hidden,
            density=3 / options.get("window", n_max), max_block=config.large_block, key=key,
            **options,
        )
    )  # fmt: skip
    return build(key)


def speed(
    config: Any, key: Key, run: Run, *, whole: bool = False, apart: bool = False, stride: int = 4
) -> dict[str, Any]:
    """Seconds a graph by size, with block 1, and with block 4 at the largest.

    `whole`: all nodes are always generated and the graph then cut; `apart`: a model a size;
    `stride`: that of block 4.
    """
    del run
    most = config.cost_nodes
    sizes = [max(2, round(share * most)) for share in SIZES]
    model = _model(config, key, most)

    def draw(n: int, block: int) -> None:
        own = _model(config, key, n) if apart else model
        step = min(block, stride)
        gran.sample(own, [most if whole else n], block=block, stride=step, key=key)

    grow._cached.clear_cache()  # what an earlier seed compiled would not be counted
    for n in sizes:
        draw(n, 1)
    programs = grow._cached._cache_size()
    draw(most, 4)
    calls = {f"b1_{i}": (n, 1) for i, n in enumerate(sizes)} | {"b4": (most, 4)}
    taken = {name: _least(lambda n=n, b=b: draw(n, b)) for name, (n, b) in calls.items()}
    seconds = [taken[f"b1_{i}"] for i in range(len(sizes))]
    return {
        "programs": float(programs),
        "cost_sizes": [float(n) for n in sizes],
        "graph_seconds": seconds,
        "small_to_large_time_ratio": seconds[0] / seconds[-1],
        "block4_to_block1_time_ratio": taken["b4"] / seconds[-1],
    }


def _least(call: Any) -> float:
    taken = []
    for _ in range(7):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def memory(config: Any, key: Key, run: Run, *, square: bool = False) -> dict[str, Any]:
    """Bytes of the compiled sampler at a quarter, a half and all of the nodes; a graph drawn.

    `square`: neighbour lists as long as there are nodes, an adjacency matrix in effect.
    """
    del run
    nodes = config.large_nodes
    counts = [nodes // 4, nodes // 2, nodes]
    used = [_bytes(config, key, n, square) for n in counts]
    model = _model(config, key, nodes, window=min(64, nodes))
    (graph,) = gran.sample(model, [nodes], block=config.large_block, key=key)
    return {
        "megabytes": used[-1] / 1e6,
        "memory_growth": (used[2] - used[1]) / (used[1] - used[0]),
        "memory_nodes": [float(n) for n in counts],
        "memory_bytes": used,
        "large_nodes": float(graph.n_nodes),
        "large_edges": float(graph.n_edges),
    }


def _bytes(config: Any, key: Key, n: int, square: bool) -> float:
    """Arguments, results and scratch of the program that samples up to n nodes, at H = 128."""
    model = gran.GRAN(n, config.large_hidden, config.rounds, config.mixtures,
                      config.large_block, key=key)  # fmt: skip
    degree = n if square else 32
    space = room(model, config.large_block, 32, degree, n)
    plan = Plan(space, Limits(), config.large_block, config.large_block)
    told = jnp.zeros(model.hidden)
    empty = gran.Graph(0, np.zeros((0, 2), np.int64))
    known = jax.tree.map(lambda x: x[None], start_from(model, space, empty, told))
    zero, one = jnp.zeros((), jnp.int32), jnp.full(1, n, jnp.int32)
    keys = jax.random.split(key, 1)
    program: Any = grow.lower(model, plan, known, zero, one, jnp.ones(()), told, keys).compile()
    sizes = program.compiled.memory_analysis()
    return float(
        sizes.temp_size_in_bytes + sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    )
