"""Efficient graph generation with graph recurrent attention networks (arXiv 1910.00760).

GRAN beside Erdos-Renyi, the configuration model and GraphRNN-S; blocks, orderings, mixtures, costs.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import numpy as np

from tenfold import _papers, gran
from tenfold.base.typing import Key
from tenfold.lab.run import Run
from tenfold.lab.studies import _gran_costs as costs
from tenfold.lab.studies import _gran_figures as figures
from tenfold.lab.studies import _gran_rivals as rivals
from tenfold.lab.studies import _gran_sets as sets
from tenfold.lab.studies._gran_blocks import by_block, shuffled_samples
from tenfold.lab.studies._gran_claims import CLAIMS, DIFFERENCES
from tenfold.lab.studies._gran_scores import FAMILY, bits_per_pair, discrepancies, drawable
from tenfold.lab.studies._gran_training import trained, windows
from tenfold.lab.study import Arm, Preset, Study


@dataclass(frozen=True)
class Config:
    graphs: Literal["grids", "firstmm_db", "proteins", "dd"] = "grids"
    """What all arms but the lobsters' generate."""
    least: int = 3
    """The shortest side of a grid; of other graphs, the fewest nodes."""
    most: int = 8
    """The longest side; the most nodes."""
    lobster_least: int = 10
    """The fewest nodes of a lobster."""
    lobster_most: int = 25
    lobster_count: int = 500
    """Lobsters of a seed; four fifths to train on."""
    hidden: int = 32
    rounds: int = 4
    mixtures: int = 16
    steps: int = 900
    """Training steps of each GRAN."""
    lobster_steps: int = 2500
    batch: int = 4
    """Graphs of a training step."""
    lobster_batch: int = 12
    windows: int = 8
    """Windows of each of them."""
    blocks: tuple[int, ...] = (1, 2, 4, 8)
    """Blocks that the arms `blocks` train and sample with; 4 must be one."""
    pool: int = 128
    """Batches that are drawn; then they come again. 0: no batch comes again."""
    learning_rate: float = 0.007
    decays: bool = True
    """Whether learning rates fall to 0 along a cosine."""
    samples: int = 48
    """Graphs that each arm generates."""
    side_by_side: int = 8
    """Of which so many grow at a time."""
    rnn_hidden: int = 64
    rnn_steps: int = 600
    rnn_batch: int = 16
    rnn_rate: float = 0.005
    rnn_orders: int = 20
    """Random breadth-first orders of each graph that GraphRNN-S trains on."""
    cost_nodes: int = 361
    """The largest graph of the cost arms, of which others are shares."""
    large_nodes: int = 5037
    large_block: int = 16
    large_hidden: int = 128


# ---- Models -----------------------------------------------------------------------------------
def model(
    config: Config, key: Key, *, lobsters: bool = False, blocks: bool = False, mixtures: int = 0
) -> gran.GRAN:
    """`blocks`: whether it takes those, or 1 only; `mixtures`: K, the config's by default."""
    graphs, n_max = sets.whole(config, lobsters)
    density = sum(graph.n_edges for graph in graphs) / sets.pairs(graphs)
    build = eqx.filter_jit(
        lambda key: gran.GRAN(
            n_max, config.hidden, config.rounds, mixtures or config.mixtures,
            gate=config.hidden, max_block=max(config.blocks) if blocks else 1, density=density,
            key=key,
        )
    )  # fmt: skip
    return build(key)


# ---- Arms -------------------------------------------------------------------------------------
def train(
    config: Config, key: Key, run: Run, *, lobsters: bool = False, orders: Any = "dfs",
    trains: bool = True, shuffled: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """GRAN with block 1; with several `orders`, each graph gets one of them at random."""
    train_set, test = sets.chosen(config, run.seed, lobsters)
    init, noise, drawn = jax.random.split(key, 3)
    net = model(config, init, lobsters=lobsters)
    if not trains:  # nor does it know how sparse graphs are: all pairs are edges
        bias = jax.numpy.full_like(net.head.logits.bias, 10.0)
        net = eqx.tree_at(lambda m: m.head.logits.bias, net, bias)
    like, _ = sets.chosen(config, 0, lobsters)
    size = config.lobster_batch if lobsters else config.batch
    batches = windows(net, train_set, config, noise, like=like, batch=size, orders=orders)
    steps = (config.lobster_steps if lobsters else config.steps) * trains
    net = trained(run, net, batches, steps, config, noise)
    sampler = shuffled_samples if shuffled else gran.sample
    made = sampler(
        net, size_pmf=gran.size_pmf(train_set), n=config.samples,
        parallel=config.side_by_side, key=drawn,
    )  # fmt: skip
    scored = (orders,) if isinstance(orders, str) or callable(orders) else orders
    found = {"bits": bits_per_pair(net, test, scored), **discrepancies(list(made), test)}
    return found | drawable(list(made), "made") | drawable(test, "test")


def bounds(config: Config, key: Key, run: Run, *, same: bool = False) -> dict[str, Any]:
    """GRAN trained on all orderings of the family, and its bound with 1, 2, ... of them.

    `same`: the first of them again and again.
    """
    train_set, test = sets.chosen(config, run.seed)
    init, noise = jax.random.split(key)
    net = model(config, init)
    batches = windows(net, train_set, config, noise, like=sets.chosen(config, 0)[0], orders=FAMILY)
    net = trained(run, net, batches, config.steps, config, noise)
    family = FAMILY[:1] * len(FAMILY) if same else FAMILY
    bits = [bits_per_pair(net, test, family[: i + 1]) for i in range(len(family))]
    gap = (bits[-1] - bits[0]) * sets.pairs(test) / len(test)
    return {"bits": bits[-1], "bits_by_orders": bits, "graph_bits_gained": -gap}


def blocks(
    config: Config, key: Key, run: Run, *, mixtures: int = 0, wanted: Any = None,
    seen: Any = None, stride: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """One GRAN trained with all blocks (or those `seen`), and sampled with each (or `wanted`)."""
    train_set, test = sets.chosen(config, run.seed)
    init, noise, drawn = jax.random.split(key, 3)
    net = model(config, init, blocks=True, mixtures=mixtures)
    batches = windows(
        net,
        train_set,
        config,
        noise,
        like=sets.chosen(config, 0)[0],
        blocks=seen or config.blocks,
    )
    net = trained(run, net, batches, config.steps, config, noise)
    pmf = gran.size_pmf(train_set)
    return by_block(net, pmf, test, config, drawn, wanted or config.blocks, stride)


ARMS = {
    "gran": Arm(train, model, "the method, block 1"),
    "graphrnn-s": Arm(rivals.graph_rnn, says="GraphRNN-S, random breadth-first orders"),
    "graphrnn-s-one": Arm(partial(rivals.graph_rnn, canonical=True), says="... one order a graph"),
    "configuration": Arm(
        partial(rivals.random_graphs, draw=sets.configuration), says="degrees of a training graph"
    ),
    "erdos-renyi": Arm(
        partial(rivals.random_graphs, draw=sets.erdos_renyi), says="density of a training graph"
    ),
    "floor": Arm(rivals.floor, says="the training graphs themselves"),
    "lobster-gran": Arm(partial(train, lobsters=True), partial(model, lobsters=True)),
    "lobster-graphrnn-s": Arm(partial(rivals.graph_rnn, lobsters=True)),
    "lobster-erdos-renyi": Arm(partial(rivals.random_graphs, draw=sets.erdos_renyi, lobsters=True)),
    "lobster-floor": Arm(partial(rivals.floor, lobsters=True)),
    "gran-bfs": Arm(partial(train, orders="bfs"), model, "breadth first"),
    "gran-degree": Arm(partial(train, orders="degree"), model, "by degree (k-core is the same)"),
    "gran-family": Arm(bounds, model, "one GRAN for five orderings"),
    "blocks": Arm(blocks, partial(model, blocks=True), "one GRAN for blocks of 1 to 8"),
    "blocks-k1": Arm(
        partial(blocks, mixtures=1, wanted=(4,)), partial(model, blocks=True, mixtures=1),
        "... whose pairs are independent, K = 1",
    ),
    "speed": Arm(costs.speed, says="sampling untrained nets"),
    "memory": Arm(costs.memory, says="bytes of the compiled sampler, H = 128"),
}  # fmt: skip


def at_random(graph: Any) -> np.ndarray:
    """The sabotage's ordering: another for each graph, of no meaning."""
    seed = graph.n_nodes * 1_000_003 + int(graph.edges.sum())
    return np.random.default_rng(seed).permutation(graph.n_nodes)


SABOTAGES = {
    "untrained": {
        "gran": Arm(partial(train, trains=False), model),
        "lobster-gran": Arm(partial(train, lobsters=True, trains=False)),
    },
    "shuffled": {
        "gran": Arm(partial(train, shuffled=True), model),
        "lobster-gran": Arm(partial(train, lobsters=True, shuffled=True)),
    },
    "random-order": {"gran": Arm(partial(train, orders=at_random), model)},
    "independent": {"blocks": Arm(partial(blocks, mixtures=1))},
    "one-block": {"blocks": Arm(partial(blocks, seen=(1,)))},
    "full-stride": {"blocks": Arm(partial(blocks, stride=4))},
    "stride-1": {"speed": Arm(partial(costs.speed, stride=1))},
    "same-order": {"gran-family": Arm(partial(bounds, same=True), model)},
    "whole": {"speed": Arm(partial(costs.speed, whole=True))},
    "apart": {"speed": Arm(partial(costs.speed, apart=True))},
    "square": {"memory": Arm(partial(costs.memory, square=True))},
}

SMALL = Config()
SMOKE = replace(
    SMALL, most=4, lobster_most=12, lobster_count=20, hidden=8, rounds=2, mixtures=2, steps=2,
    lobster_steps=2, batch=2, lobster_batch=2, windows=2, pool=2, blocks=(1, 4), samples=3,
    side_by_side=3, rnn_hidden=8, rnn_steps=2, rnn_orders=1, cost_nodes=24, large_nodes=80,
    large_block=4, large_hidden=16,
)  # fmt: skip
PAPER = replace(
    SMALL, least=10, most=19, lobster_most=100, lobster_count=100, hidden=128, rounds=7,
    mixtures=20, steps=240_000, lobster_steps=400_000, batch=1, lobster_batch=1, windows=50,
    pool=0, learning_rate=1e-4, decays=False, samples=100, side_by_side=1, rnn_hidden=128,
    rnn_steps=100_000, rnn_batch=32, rnn_rate=3e-3, rnn_orders=100,
)  # fmt: skip
FIRSTMM = replace(
    PAPER, graphs="firstmm_db", least=1, most=5037, hidden=256, steps=640_000, windows=1
)

STUDY = Study(
    paper=_papers.GRAN,
    presets={
        "smoke": Preset("1.5 min, 2 cores", SMOKE, seeds=1),
        "small": Preset("6 min, 2 cores", SMALL, seeds=3),
        "paper": Preset("days, 1 GPU; untested", PAPER, seeds=3),
        "firstmm": Preset("days, 1 GPU; untested; needs the data", FIRSTMM, seeds=1),
    },
    arms=ARMS,
    claims=CLAIMS,
    sabotages=SABOTAGES,
    figures=figures.FIGURES,
    differences=DIFFERENCES,
)
