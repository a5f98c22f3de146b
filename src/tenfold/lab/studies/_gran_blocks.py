"""Sampling block by block, and sampling that forgets the order, for the gran study."""

import time
from typing import Any

import jax
import numpy as np
from jax import Array

from tenfold import gran
from tenfold.lab.studies._gran_scores import bits_per_pair, discrepancies

CUTS = 4
"""How often the sabotaged sampler shuffles a graph while it grows."""


def by_block(
    model: Any, pmf: Any, test: Any, config: Any, key: Array, wanted: Any, stride: int
) -> dict[str, Any]:
    """Bits, discrepancies and seconds a graph with each block; and of block 4 with `stride`."""
    found: dict[str, Any] = {"block_sizes": [float(b) for b in wanted]}
    for name, block, step in [*((f"b{b}", b, b) for b in wanted), ("b4s2", 4, stride)]:
        options = {"block": block, "stride": step, "parallel": config.side_by_side, "key": key}
        gran.sample(model, size_pmf=pmf, n=1, **options)  # compiles
        start = time.process_time()
        made = list(gran.sample(model, size_pmf=pmf, n=config.samples, **options))
        found[f"graph_{name}_seconds"] = (time.process_time() - start) / config.samples
        found[f"bits_{name}"] = bits_per_pair(model, test, block=block, stride=step)
        found |= {f"{k}_{name}": v for k, v in discrepancies(made, test).items() if "mmd" in k}
    found["stride_bits"] = found["bits_b4"] - found["bits_b4s2"]
    if "bits_b1" in found:
        found["block4_bits"] = found["bits_b4"] - found["bits_b1"]
    return found


def shuffled_samples(
    model: Any, *, size_pmf: Any, n: int, parallel: int, key: Array
) -> list[gran.Graph]:
    """The sabotaged sampler: each graph is renumbered at random several times as it grows."""
    del parallel
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    made = []
    for i, size in enumerate(rng.choice(len(size_pmf), n, p=size_pmf).tolist()):
        graph = None
        for cut in range(1, CUTS + 1):
            if graph is not None:
                graph = graph.reorder(rng.permutation(graph.n_nodes))
            own = jax.random.fold_in(jax.random.fold_in(key, i), cut)
            (graph,) = gran.sample(model, [-(-size * cut // CUTS)], start=graph, key=own)
        made.append(graph)
    return made
