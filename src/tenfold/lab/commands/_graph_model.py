"""A model of a user's graphs on disk: settings as JSON, parameters as an Orbax checkpoint."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

from tenfold import __version__, gran
from tenfold.gran._model import check_graph
from tenfold.lab import train
from tenfold.lab.checkpoint import CheckpointError, Checkpoints
from tenfold.lab.data import DataError
from tenfold.lab.devices import enable_compile_cache
from tenfold.lab.files import FileError, read_json, write_json
from tenfold.lab.parsing import UsageError
from tenfold.lab.run import Run

ARM = "gran"
_SIZES = ("n_max", "hidden", "rounds", "mixtures", "max_block", "window")
_TRAINING = ("order", "steps", "batch", "windows", "learning_rate", "held_out", "seed")


class SamplingError(RuntimeError):
    """Graphs that were asked for can't be drawn; the message is one line."""


class Objective(eqx.Module):
    def __call__(self, model: Any, batch: Any, key: Any):
        del key
        return gran.loss(model, batch), {}


def _build(sizes: dict[str, Any], density: float, key: Any) -> gran.GRAN:
    return gran.GRAN(**sizes, gate=sizes["hidden"], density=density, key=key)


def fit(
    options: Any, files: Sequence[Path], graphs: Sequence[Any], say: Callable[[str], None]
) -> float | None:
    """Trains, or goes on; returns the bits a pair of the held-out graphs, None without any.

    `files` are where the `graphs` are from. Nothing is written before all of them are checked.
    """
    enable_compile_cache()
    n_max = max(graph.n_nodes for graph in graphs) if options.n_max is None else options.n_max
    plain = [gran.Graph(graph.n_nodes, graph.edges) for graph in graphs]
    pairs = max(1, sum(g.n_nodes * (g.n_nodes - 1) // 2 for g in plain))
    density = float(np.clip(sum(g.n_edges for g in plain) / pairs, 1e-6, 1 - 1e-6))
    header = {
        "tenfold": __version__,
        "sizes": {name: getattr(options, name) for name in _SIZES} | {"n_max": n_max},
        "training": {name: getattr(options, name) for name in _TRAINING},
        "density": density,
        "node_counts": [graph.n_nodes for graph in plain],
        "edge_counts": [graph.n_edges for graph in plain],
    }
    init, noise, drawn = jax.random.split(jax.random.key(options.seed), 3)
    build = partial(_build, header["sizes"], density)
    like = eqx.filter_eval_shape(build, init)
    for file, graph in zip(files, plain):
        _check(like, file, graph, options.order)
    _begin(options.out, header)
    net = eqx.filter_jit(build)(init)
    seen, unseen = _parted(plain, options.held_out, options.seed)
    batches = gran.Batches(
        net, seen, options.batch, orders=options.order, blocks=range(1, options.max_block + 1),
        steps_per_graph=options.windows, key=drawn,
    )  # fmt: skip
    schedule = optax.cosine_decay_schedule(options.learning_rate, options.steps)
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))
    step = train.GradientStep(Objective(), optimiser)
    run = Run(ARM, options.seed, options.out, emit=partial(_tell, say))
    state = train.fit(
        run, step, step.init(net), batches, options.steps, key=noise,
        log_every=max(1, options.steps // 10),
    )  # fmt: skip
    return _bits(state.model, unseen, options.order) if unseen else None


def _begin(folder: Path, header: dict[str, Any]) -> None:
    file = folder / "model.json"
    if not file.exists():
        write_json(file, header)
    elif read_json(file) != header:
        raise FileError(f"{folder} holds a model of other graphs or settings; choose another --out")


def _check(net: Any, file: Path, graph: Any, order: Any) -> None:
    try:
        check_graph(net, graph.reorder(gran.order(graph, order)))
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error


def _parted(graphs: Sequence[Any], share: float, seed: int) -> tuple[list[Any], list[Any]]:
    """Graphs to train on, one at least, and the rest."""
    mixed = np.random.default_rng(seed).permutation(len(graphs)).tolist()
    count = min(int(share * len(graphs)), len(graphs) - 1)
    return [graphs[i] for i in mixed[count:]], [graphs[i] for i in mixed[:count]]


def _tell(say: Callable[[str], None], event: dict[str, Any]) -> None:
    if event["event"] == "progress":
        say(f"step {event['step']} of {event['steps']}")
    elif event["event"] == "say":
        say(event["line"])


def _bits(net: Any, graphs: Sequence[Any], order: Any) -> float:
    """An upper bound of the negative log-likelihood, in bits a pair of nodes."""
    nats = -sum(float(gran.log_prob(net, graph, (order,), block=1).value) for graph in graphs)
    return nats / max(1, sum(g.n_nodes * (g.n_nodes - 1) // 2 for g in graphs)) / math.log(2)


def load(folder: Path) -> tuple[gran.GRAN, dict[str, Any]]:
    """The model that `fit` wrote in `folder`, and its header.

    **Raises:** FileError, CheckpointError naming what is absent or damaged.
    """
    file = folder / "model.json"
    if not file.exists():
        raise FileError(f"{folder} holds no graph model: {file.name} is missing")
    header = read_json(file)
    try:
        build = partial(_build, header["sizes"], header["density"])
        like = eqx.filter_eval_shape(build, jax.random.key(0))
        steps, seed = (_whole(header["training"], name) for name in ("steps", "seed"))
        counts = header["node_counts"]
        if not counts or not all(isinstance(n, int) and 0 < n <= like.n_max for n in counts):
            raise ValueError(f"`node_counts` must be numbers of nodes, from 1 to {like.n_max}")
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{file} describes no graph model: {error}") from error
    checkpoints_at = Run(ARM, seed, folder).checkpoints()
    if not checkpoints_at.is_dir():
        raise CheckpointError(f"{checkpoints_at} does not exist: the training saved nothing")
    with contextlib.closing(Checkpoints(checkpoints_at, owner=False)) as checkpoints:
        if steps not in checkpoints.steps():
            raise CheckpointError(f"{folder} is not trained to its end: run `graphs fit` again")
        net = checkpoints.restore(steps, {"model": like})["model"]
    return net, header | {"node_counts": counts}


def _whole(fields: dict[str, Any], name: str) -> int:
    if not isinstance(fields[name], int):
        raise ValueError(f"`{name}` must be a whole number, got {fields[name]!r}")
    return fields[name]


def sample(options: Any) -> gran.Graphs:
    """The graphs that `options` ask for."""
    enable_compile_cache()
    net, header = load(options.run)
    if options.nodes is not None and options.nodes > net.n_max:
        raise UsageError(
            f"graphs sample: --nodes must be at most {net.n_max}, the model's --n-max, got "
            f"{options.nodes}"
        )
    if options.block > net.max_block:
        raise UsageError(
            f"graphs sample: --block must be at most {net.max_block}, the model's --max-block, "
            f"got {options.block}"
        )
    if options.nodes is None:
        counts = header["node_counts"]
        sizes: dict[str, Any] = {"size_pmf": np.bincount(counts) / len(counts)}
        sizes["n"] = options.count
    else:
        sizes = {"sizes": [options.nodes] * options.count}
    try:
        return gran.sample(
            net, **sizes, block=options.block, temperature=options.temperature,
            max_degree=options.max_degree, connected=options.connected,
            key=jax.random.key(options.seed),
        )  # fmt: skip
    except RuntimeError as error:
        raise SamplingError(str(error).removeprefix("sample: ")) from error
