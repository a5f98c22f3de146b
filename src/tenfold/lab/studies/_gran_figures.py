"""The pictures of the gran study."""

from typing import Any

import numpy as np

from tenfold.lab.figures import GREY, PALETTE, Drawn, new
from tenfold.lab.results import Results
from tenfold.lab.study import Figure

STATISTICS = ("degree", "clustering", "orbit", "spectral")


def unpacked(row: np.ndarray | None) -> list[tuple[int, np.ndarray]]:
    """Sizes and edges of the graphs that `drawable` wrote as one row of numbers."""
    numbers, at, graphs = np.asarray([] if row is None else row, int), 0, []
    while at < len(numbers):
        n, edges = numbers[at : at + 2].tolist()
        graphs.append((n, numbers[at + 2 : at + 2 + 2 * edges].reshape(-1, 2)))
        at += 2 + 2 * edges
    return graphs


def _places(n: int, edges: np.ndarray) -> np.ndarray:
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges.tolist())
    spots = networkx.spring_layout(graph, seed=0, iterations=200)
    return np.array([spots[i] for i in range(n)])


def _drawn(results: Results, prefix: str) -> Drawn:
    """Test graphs above what each arm makes."""
    arms = [f"{prefix}{a}" for a in ("gran", "graphrnn-s", "erdos-renyi")]
    rows = {"test": unpacked(results.first(arms[0], "test_graphs"))}
    rows |= {arm: unpacked(results.first(arm, "made_graphs")) for arm in arms}
    rows = {name: graphs for name, graphs in rows.items() if graphs}
    if len(rows) < 2:
        return None
    columns = max(map(len, rows.values()))
    figure = new(1.5, 1.5, nrows=len(rows), ncols=columns)
    numbers: dict[str, Any] = {}
    for axes in figure.axes:
        axes.set_axis_off()
    for r, (name, graphs) in enumerate(rows.items()):
        figure.axes[r * columns].set_title(name)
        for c, (n, edges) in enumerate(graphs):
            axes, spots = figure.axes[r * columns + c], _places(n, edges)
            lines = np.full((len(edges), 3, 2), np.nan)  # one line, lifted after each edge
            lines[:, :2] = spots[edges]
            x, y = lines.reshape(-1, 2).T
            axes.plot(x, y, color=GREY, linewidth=0.7, linestyle="-")
            axes.plot(*spots.T, color=PALETTE[min(r, 1)], marker=".", linestyle="", markersize=2.5)
            numbers |= {f"{name} {c} i": edges[:, 0], f"{name} {c} j": edges[:, 1]}
    return figure, numbers


def graphs(results: Results) -> Drawn:
    return _drawn(results, "")


def lobsters(results: Results) -> Drawn:
    return _drawn(results, "lobster-")


def quality(results: Results) -> Drawn:
    """The four discrepancies by arm."""
    known = ("gran", "graphrnn-s", "graphrnn-s-one", "configuration", "erdos-renyi", "floor")
    arms = [arm for arm in known if results.values(arm, "degree_mmd")]
    if not arms:
        return None
    figure = new(2.6, 2.6, ncols=len(STATISTICS))
    numbers: dict[str, Any] = {"arm": arms}
    for axes, statistic in zip(figure.axes, STATISTICS):
        values = [float(results.mean(arm, f"{statistic}_mmd")) for arm in arms]
        axes.barh(arms[::-1], values[::-1], color=PALETTE[0])
        axes.set_title(statistic)
        axes.grid(visible=False)
        numbers[statistic] = values
        if axes is not figure.axes[0]:
            axes.set_yticklabels([])
    figure.axes[0].set_xlabel("squared MMD from the test graphs")
    return figure, numbers


def blocks(results: Results) -> Drawn:
    """Time and bits against the block."""
    sizes = results.first("blocks", "block_sizes")
    if sizes is None:
        return None
    names = [f"b{int(b)}" for b in sizes]
    figure = new(ncols=2)
    numbers: dict[str, Any] = {"block": sizes}
    for axes, (metric, label) in zip(
        figure.axes, (("graph_{}_seconds", "seconds a graph"), ("bits_{}", "bits a pair (bound)"))
    ):
        values = [float(results.mean("blocks", metric.format(name))) for name in names]
        strided = float(results.mean("blocks", metric.format("b4s2")))
        axes.plot(sizes, values, marker="o", label="stride = block")
        axes.plot([4], [strided], marker="s", linestyle="", label="block 4, stride 2")
        axes.set(xscale="log", xlabel="block", ylabel=label, ylim=(0, None))
        axes.set_xticks(sizes, [str(int(b)) for b in sizes])
        axes.minorticks_off()
        numbers |= {label: values, f"{label}, stride 2": strided}
    figure.axes[0].legend()
    return figure, numbers


def bound(results: Results) -> Drawn:
    """Bits of the bound against the number of orderings."""
    bits = results.mean("gran-family", "bits_by_orders")
    if not np.ndim(bits):
        return None
    figure = new()
    (axes,) = figure.axes
    count = np.arange(1, len(bits) + 1)
    axes.plot(count, bits, marker="o", label="trained on all five")
    numbers: dict[str, Any] = {"orderings": count, "bits": bits}
    for i, arm in enumerate(("gran", "gran-bfs", "gran-degree")):
        one = float(results.mean(arm, "bits"))
        name = {"gran": "dfs"}.get(arm, arm.removeprefix("gran-"))
        label = f"trained on {name} alone"
        axes.axhline(one, color=PALETTE[i + 1], linestyle="--", linewidth=1.2, label=label)
        numbers[label] = one
    axes.set(xlabel="orderings in the bound", ylabel="bits a pair (bound)", xticks=count)
    axes.legend()
    return figure, numbers


def speed(results: Results) -> Drawn:
    """Seconds a graph against its size."""
    sizes = results.first("speed", "cost_sizes")
    if sizes is None:
        return None
    seconds = np.min(list(results.values("speed", "graph_seconds").values()), axis=0)
    figure = new()
    (axes,) = figure.axes
    axes.plot(sizes, seconds, marker="o")
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="seconds a graph, block 1")
    return figure, {"nodes": sizes, "seconds": seconds}


FIGURES = (
    Figure("graphs", "Graphs of the test set, and graphs that arms made. First seed.", graphs),
    Figure("lobsters", "Lobsters of the test set, and what arms made. First seed.", lobsters),
    Figure("quality", "Squared MMD by arm, mean over seeds; `floor` is the training set.", quality),
    Figure("blocks", "Sampling time and bits against the block; one net for all.", blocks),
    Figure("bound", "The bound with 1 to 5 orderings, and nets of one ordering.", bound),
    Figure("speed", "Time of sampling one graph against its nodes; one program.", speed),
)
