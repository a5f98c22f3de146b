"""Sampling with GRAN and comparing graphs, beside what one would do instead.

1. A graph of 361 nodes, as dense as a grid; H = 128, 7 rounds, 20 parts; blocks of 1 and of 4.
   Beside it a plain PyTorch sampler that computes each step's whole graph, with the same weights,
   where TENFOLD_TORCH_PYTHON names a Python that has torch; first both are checked to give the same
   conditionals on a graph. Then sizes 50, 73 and 100: no further program is compiled.
2. Degree, clustering, orbit and spectral rows of 40 grids, beside a loop of networkx and NumPy.
3. A graph of 5,037 nodes with blocks of 16, and one of 20,000 with a window: seconds and memory.

Run as `make bench`, or `python benchmarks/gran.py`; `--large` for part 3 (5 minutes) too. One
thread, float32, process time.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("NPROC", "1")  # one thread: timings repeat; XLA reads it when it starts
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import equinox as eqx
import jax
import networkx as nx
import numpy as np

from tenfold import gran
from tenfold.gran import metrics
from tenfold.gran._batch import Part, assemble, fit, needed
from tenfold.gran._grow import grow
from tenfold.lab.environment import environment

KEY, MOST, WIDTH = jax.random.key(0), 361, 128
STEPS = (0, 1, 5, 60, 200, 356)
TORCH = os.environ.get("TENFOLD_TORCH_PYTHON")


def net(n_max, **options):
    """Untrained; biased to the density of a grid, so that its graphs are as large as grids'."""
    density = 4 / (options.get("window") or n_max)
    build = eqx.filter_jit(lambda key: gran.GRAN(n_max, WIDTH, density=density, key=key, **options))
    return build(KEY)


# ---- Sampling ---------------------------------------------------------------------------------
def draw(model, n, block):
    return gran.sample(model, [n], block=block, key=KEY)[0]


def conditionals(model, graph, block):
    """log p of the windows that start at `STEPS`."""
    part = Part(graph, np.array(STEPS), np.ones(len(STEPS)), block, block)
    pieces = [part.pieces(None)]
    batch = assemble(model, [part], pieces, fit(needed([part], pieces), None))
    return np.asarray(eqx.filter_jit(gran.step_log_probs)(model, batch))[: len(STEPS)]


def torch_case(model, graph, block):
    """All that the PyTorch sampler needs, as arrays."""
    layer, head = model.rounds, model.head
    arrays = {
        "column": model.column[0], "offset": model.offset, "first": layer.first,
        "sent": layer.sent, "received": layer.received, "head_first": head.first,
        "head_bias": head.bias, "edges": graph.edges, "n": graph.n_nodes, "block": block,
        "steps": STEPS, "log_probs": conditionals(model, graph, block),
    }  # fmt: skip
    dense = {f"r_{k}": getattr(layer, k) for k in ("message", "gate", "inner", "state")}
    dense |= {f"h_{k}": getattr(head, k) for k in ("second", "logits", "mix_second", "mix")}
    for name, each in dense.items():
        arrays |= {f"{name}_w": each.weight, f"{name}_b": each.bias}
    return {name: np.asarray(value) for name, value in arrays.items()}


def torch_seconds(model, graph, block):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.npz"
        np.savez(file, **torch_case(model, graph, block))
        script = Path(__file__).with_name("_gran_torch.py")
        said = subprocess.run([TORCH, script, file], capture_output=True, text=True)
    if said.returncode:
        sys.exit(said.stderr)
    return json.loads(said.stdout)["seconds"]


def seconds(call, times):
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return taken


def sampling():
    model = net(MOST, max_block=4)
    print("| block | edges | ours, s | PyTorch, s | times |\n|---|---|---|---|---|")
    for block in (1, 4):
        graph = draw(model, MOST, block)
        ours = seconds(lambda b=block: draw(model, MOST, b), 5)
        theirs = torch_seconds(model, graph, block) if TORCH else float("nan")
        ours = median(ours + seconds(lambda b=block: draw(model, MOST, b), 5))
        row = f"| {block} | {graph.n_edges} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |"
        print(row, flush=True)
    before = grow._cached._cache_size()
    for n in (50, 73, 100):
        draw(model, n, 1)
    print(f"\nprograms compiled for 50, 73 and 100 nodes: {grow._cached._cache_size() - before}")


# ---- Metrics ----------------------------------------------------------------------------------
def enumerated(graph):
    """Orbits of connected subgraphs of 2 to 4 nodes, found one by one (as ESU does), summed."""
    near, totals = {v: set(graph[v]) for v in graph}, np.zeros(15)
    path3, star, paw = {1: 1, 2: 2}, {1: 6, 3: 7}, {1: 9, 2: 10, 3: 11}
    orbits = {(2, 2): {1: 0}, (3, 4): path3, (3, 6): {2: 3}, (4, 8, 2): {2: 8}, (4, 8, 3): paw,
              (4, 6, 2): {1: 4, 2: 5}, (4, 6, 3): star, (4, 10, 3): {2: 12, 3: 13},
              (4, 12, 3): {3: 14}}  # fmt: skip

    def count(nodes):
        inside = [len(near[v] & nodes) for v in nodes]
        name = (len(nodes), sum(inside)) + ((max(inside),) if len(nodes) == 4 else ())
        for d in inside:
            totals[orbits[name][d]] += 1

    def extend(nodes, beyond, seen, root):
        if len(nodes) > 1:
            count(nodes)
        if len(nodes) == 4:
            return
        beyond = set(beyond)
        while beyond:
            v = beyond.pop()
            fresh = {w for w in near[v] if w > root and w not in seen}
            extend(nodes | {v}, beyond | fresh, seen | fresh, root)

    for root in graph:
        ahead = {w for w in near[root] if w > root}
        extend({root}, ahead, ahead | {root}, root)
    return totals / len(graph)


LOOPS = {
    "degree": lambda g: np.array(nx.degree_histogram(g)) / len(g),
    "clustering": lambda g: (
        np.histogram(list(nx.clustering(g).values()), 100, (0.0, 1.0))[0] / len(g)
    ),
    "orbit4": enumerated,
    "spectral": lambda g: (
        np.histogram(
            np.clip(np.linalg.eigvalsh(nx.normalized_laplacian_matrix(g).todense()), 0, 2),
            200, (-1e-5, 2),
        )[0] / len(g)
    ),
}  # fmt: skip


def comparing():
    sides = range(10, 20)
    graphs = [gran.grid(i, j) for i in sides for j in sides][::5][:20] * 2
    theirs = [nx.convert_node_labels_to_integers(g.to_networkx()) for g in graphs]
    print("\n| rows of 40 grids | loop, ms | ours from networkx, ms (times) | ours, ms (times) |")
    print("|---|---|---|---|")
    total = np.zeros(3)
    for name, loop in LOOPS.items():
        ours = getattr(metrics, name)
        for row, g in zip(ours(graphs), theirs):
            want = loop(g)
            assert np.abs(row[: len(want)] - want).sum() < 0.02, name  # rounding at a bin's edge
        calls = (
            lambda loop=loop: [loop(g) for g in theirs],
            lambda ours=ours: ours(theirs),
            lambda ours=ours: ours(graphs),
        )
        taken = np.array([min(seconds(call, 5)) for call in calls])
        total += taken
        tell(name, taken)
    tell("all four", total)


def tell(name, taken):
    a, b, c = 1e3 * taken
    print(f"| {name} | {a:.1f} | {b:.1f} ({a / b:.1f}) | {c:.1f} ({a / c:.1f}) |", flush=True)


# ---- Large graphs -----------------------------------------------------------------------------
def large(n, window):
    """In a process of its own, whose memory is that of one graph."""
    model = net(n, max_block=16, window=window)
    start = time.process_time()
    (graph,) = gran.sample(model, [n], block=16, key=KEY)
    taken = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {n} | {window} | {graph.n_edges} | {taken:.0f} | {peak:.2f} |", flush=True)


def main() -> None:
    if "--one" in sys.argv:
        n, window = map(int, sys.argv[-2:])
        return large(n, window or None)
    here = environment(int(os.environ["NPROC"]))
    print(f"{here['machine']}, {here['cores']} cores, {here['threads']} thread; "
          f"jax {here['versions']['jax']}\n")  # fmt: skip
    sampling()
    comparing()
    if "--large" in sys.argv:
        print(
            "\n| nodes | window | edges | seconds, compiling too | peak GiB |\n"
            "|---|---|---|---|---|"
        )
        for n, window in ((5037, 0), (20_000, 256)):
            subprocess.run([sys.executable, __file__, "--one", str(n), str(window)], check=True)
    return None


if __name__ == "__main__":
    main()
