"""The arms beside GRAN in its study: random graphs, the training set, GraphRNN-S."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from tenfold import gran
from tenfold.base.typing import Key
from tenfold.gran import baselines
from tenfold.lab.run import Run
from tenfold.lab.studies import _gran_sets as sets
from tenfold.lab.studies._gran_scores import discrepancies, drawable
from tenfold.lab.studies._gran_training import RowBatches, trained


def random_graphs(
    config: Any, key: Key, run: Run, *, draw: Any, lobsters: bool = False
) -> dict[str, Any]:
    train_set, test = sets.chosen(config, run.seed, lobsters)
    made = draw(train_set, config.samples, key)
    return discrepancies(made, test) | drawable(made, "made")


def rnn_model(config: Any, key: Key, *, lobsters: bool = False, band: int) -> Any:
    _, n_max = sets.whole(config, lobsters)
    build = eqx.filter_jit(lambda key: baselines.GraphRNNS(n_max, band, config.rnn_hidden, key=key))
    return build(key)


def graph_rnn(
    config: Any, key: Key, run: Run, *, lobsters: bool = False, canonical: bool = False
) -> dict[str, Any]:
    """GraphRNN-S on random breadth-first orders, as in its paper, or on one a graph."""
    train_set, test = sets.chosen(config, run.seed, lobsters)
    init, noise, drawn, sizes = jax.random.split(key, 4)
    rng = np.random.default_rng(run.seed)

    def turned(graph: Any) -> Any:
        if not canonical:
            graph = graph.reorder(rng.permutation(graph.n_nodes))
            return graph.reorder(gran.order(graph, "bfs", root=0))
        return graph.reorder(gran.order(graph, "bfs"))

    count = 1 if canonical else config.rnn_orders
    seen = [turned(graph) for _ in range(count) for graph in train_set]
    unseen = [graph.reorder(gran.order(graph, "bfs")) for graph in test]
    net = rnn_model(config, init, lobsters=lobsters, band=baselines.band_of(seen + unseen))
    batches = RowBatches(net.rows(seen), config.rnn_batch, run.seed)
    net = trained(run, net, batches, config.rnn_steps, config, noise)
    models = sets.themselves(train_set, 0, sizes)
    chosen = np.random.default_rng([run.seed, 1]).integers(len(models), size=config.samples)
    made = list(net.sample([models[i].n_nodes for i in chosen], key=drawn))
    nats = -float(np.sum(np.asarray(net.log_prob(net.rows(unseen)), float)))
    found = {"bits": nats / sets.pairs(test) / np.log(2), **discrepancies(made, test)}
    return found | drawable(made, "made")


def floor(config: Any, key: Key, run: Run, *, lobsters: bool = False) -> dict[str, Any]:
    """The training graphs themselves."""
    return random_graphs(config, key, run, draw=sets.themselves, lobsters=lobsters)
