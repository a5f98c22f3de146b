"""`tenfold graphs fit` and `tenfold graphs sample`: a user's graphs in, graphs like them out."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from tenfold.lab.parsing import UsageError, read
from tenfold.lab.registry import UnknownName
from tenfold.lab.run import Interrupted

SEEDS = 2**32
"""JAX's keys are made of 32 bits."""
USAGE = """usage: tenfold graphs fit FOLDER [--out RUN] ...
       tenfold graphs sample RUN [--count 10] [--nodes 200] ...

Learn graphs like yours (GRAN, arXiv 1910.00760), and draw new ones.
(tenfold graphs fit --help, tenfold graphs sample --help say more)"""


@dataclasses.dataclass(frozen=True)
class FitOptions:
    folder: Positional[Path]
    """Graphs: GraphML (.graphml, .xml) or edge lists (.edges, .edgelist, .csv, .tsv, .txt)."""
    out: Path = Path("graph-model")
    """Where the model goes; the same command again goes on where it stopped."""
    n_max: int | None = None
    """The most nodes of a graph that can be sampled; those of the largest graph by default."""
    order: Literal["dfs", "bfs", "degree", "degree_asc", "kcore", "default"] = "dfs"
    """The order of the nodes that the model learns."""
    window: int | None = None
    """How far back a node may be joined, for large graphs; goes with the order bfs."""
    hidden: int = 64
    rounds: int = 5
    mixtures: int = 20
    max_block: int = 4
    """Largest block that can be sampled with: larger is faster, and a little less true."""
    steps: int = 3000
    batch: int = 4
    """Graphs of a training step."""
    windows: int = 16
    """Windows (sampling steps) of each of them."""
    learning_rate: float = 3e-3
    held_out: float = 0.2
    """Share of the graphs that is not trained on, and tells how good the model is."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class SampleOptions:
    run: Positional[Path]
    """What `graphs fit` wrote."""
    out: Path = Path("samples")
    """Where the GraphML files go."""
    count: int = 10
    """How many graphs."""
    nodes: int | None = None
    """Their size; by default sizes are drawn as they occur in the training graphs."""
    block: int = 1
    """Nodes drawn at a time."""
    temperature: float = 1.0
    """Below 1, graphs come nearer to the likeliest."""
    max_degree: int | None = None
    connected: bool = False
    """Joins every node to an earlier one."""
    seed: int = 0


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    verbs = {"fit": _fit, "sample": _sample}
    if arguments[0] not in verbs:
        raise UnknownName("command of graphs", arguments[0], verbs)
    return verbs[arguments[0]](arguments[1:])


def _fit(arguments: list[str]) -> int:
    options = read(FitOptions, arguments, verb="graphs fit")
    _in_range("graphs fit", options, least={"steps": 1, "n_max": 1, "window": 1, "hidden": 1,
              "rounds": 1, "mixtures": 1, "max_block": 1, "batch": 1, "windows": 1})  # fmt: skip
    if not 0 < options.learning_rate < math.inf or not 0 <= options.held_out < 1:
        raise UsageError(
            "graphs fit: --learning-rate must be positive and finite, --held-out from 0 to below "
            f"1, got {options.learning_rate:g}, {options.held_out:g}"
        )
    from tenfold.lab.commands import _graph_model as store
    from tenfold.lab.data import graph_files

    files = graph_files.files(options.folder)
    graphs = graph_files.load(options.folder, n_max=options.n_max).graphs
    sizes = [graph.n_nodes for graph in graphs]
    print(f"{len(graphs)} graphs of {min(sizes)} to {max(sizes)} nodes in {options.folder}")
    start = time.monotonic()
    try:
        bits = store.fit(options, files, graphs, print)
    except Interrupted as stop:
        print(f"interrupted at step {stop.step}; the same command goes on")
        return 130
    said = "" if bits is None else f"; held-out graphs take {bits:.4f} bits a pair of nodes at most"
    print(f"trained {options.steps} steps in {time.monotonic() - start:.0f} s{said}")
    print(f"draw graphs with: tenfold graphs sample {options.out}")
    return 0


def _sample(arguments: list[str]) -> int:
    options = read(SampleOptions, arguments, verb="graphs sample")
    _in_range("graphs sample", options, least={"count": 1, "nodes": 1, "block": 1,
              "max_degree": 1})  # fmt: skip
    if not 0 < options.temperature < math.inf:
        raise UsageError(
            f"graphs sample: --temperature must be positive and finite, got {options.temperature:g}"
        )
    if any(options.out.expanduser().glob("graph-*.graphml")):
        raise UsageError(f"graphs sample: {options.out} holds graphs already; choose another --out")
    from tenfold.lab.commands import _graph_model as store
    from tenfold.lab.data import graph_files

    graphs = store.sample(options)
    paths = graph_files.write(graphs, options.out)
    edges = sum(graph.n_edges for graph in graphs) / len(graphs)
    print(f"{len(paths)} graphs in {options.out}, {edges:.1f} edges in the mean")
    return 0


def _in_range(verb: str, options: Any, least: dict[str, int]) -> None:
    for name, bound in least.items():
        value = getattr(options, name)
        if value is not None and value < bound:
            flag = name.replace("_", "-")
            raise UsageError(f"{verb}: --{flag} must be at least {bound}, got {value}")
    if not 0 <= options.seed < SEEDS:
        raise UsageError(f"{verb}: --seed must be from 0 to {SEEDS - 1}, got {options.seed}")
