"""The pictures of the taylor study."""

from typing import Any

import numpy as np

from tenfold.lab.figures import DASHES, GREY, PALETTE, Drawn, new
from tenfold.lab.results import Results
from tenfold.lab.studies import _taylor_toy as toy_map
from tenfold.lab.study import Figure

REGULARISED = ["R_1", "R_2", "R_3", "R_4", "R_5", "RNODE"]
SOLVERS = {"heun": "Heun (2)", "bosh3": "Bosh3 (3)", "dopri5": "Dopri5 (5)", "dopri8": "Dopri8 (8)"}
MARKERS = ("o", "s", "^", "D")


def trade_off(results: Results) -> Drawn:
    """NFE against loss: every arm, and the other weights of the sweep."""
    arms = [arm for arm in ["none", *REGULARISED] if results.values(arm, "nfe_1e-8")]
    if not arms:
        return None
    figure, numbers = new(5.2, 3.4), {}
    (axes,) = figure.axes
    for arm in arms:
        colour, dashes = _look(arm)
        points = [(results.mean(arm, "nfe_1e-8"), results.mean(arm, "cross_entropy"))]
        axes.plot(*points[0], marker="o", markersize=7, color=colour)
        if results.values(arm, "sweep_nfe_1e-8"):
            pair = (results.mean(arm, f"sweep_{key}") for key in ("nfe_1e-8", "cross_entropy"))
            points = sorted([*points, *zip(*pair)])
        nfe, loss = [[float(value) for value in column] for column in zip(*points)]
        axes.plot(nfe, loss, marker="o", markersize=3.5, color=colour, linestyle=dashes, label=arm)
        numbers |= {f"{arm} evaluations": nfe, f"{arm} loss": loss}
    axes.set(xlabel="evaluations an image (Dopri5, 1e-8)", ylabel="test cross-entropy")
    axes.legend(ncols=2)
    return figure, numbers


def _look(arm: str) -> tuple[str, Any]:
    """An arm's colour and dashes."""
    if arm == "none":
        return GREY, "-"
    number = REGULARISED.index(arm)
    return PALETTE[number], DASHES[number]


def matrix(results: Results) -> Drawn:
    """K x solver, relative to no regulariser: by image and jointly, at both tolerances."""
    arms = [arm for arm in REGULARISED if results.values(arm, "each_heun_1e-6")]
    if not arms or not results.values("none", "each_heun_1e-6"):
        return None
    figure = new(2.7, 2.2, ncols=2, nrows=2, sharex=True, sharey=True)
    numbers: dict[str, list[Any]] = {"arm": list(arms)}
    panels = [(how, tolerance) for how in ("each", "joint") for tolerance in ("1e-6", "1e-8")]
    for axes, (how, tolerance) in zip(figure.axes, panels):
        for i, solver in enumerate(SOLVERS):
            metric = f"{how}_{solver}_{tolerance}"
            numbers[metric] = [float(results.mean(arm, metric)) for arm in arms]
            ratios = np.array(numbers[metric]) / results.mean("none", metric)
            axes.plot(arms, ratios, linestyle="", marker=MARKERS[i], color=PALETTE[i], alpha=0.9)
            orders = [j for j, arm in enumerate(arms) if arm != "RNODE"]
            axes.plot(orders, ratios[orders], color=PALETTE[i], linestyle=DASHES[i], linewidth=1.2)
        axes.set_title(
            f"{'each image alone' if how == 'each' else 'all images as one'}, {tolerance}"
        )
    for axes in figure.axes[::2]:
        axes.set_ylabel("evaluations / none")
    marks = [_mark(i, label) for i, label in enumerate(SOLVERS.values())]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    return figure, numbers


def _mark(number: int, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], marker=MARKERS[number], color=PALETTE[number], linestyle=DASHES[number], label=label
    )


def toy(results: Results) -> Drawn:
    """Trajectories of both toy arms, first seed."""
    if not results.values("toy-R_3", "paths") or not results.values("toy-none", "paths"):
        return None
    figure = new(2.7, 2.7, ncols=2, sharey=True)
    numbers: dict[str, list[float]] = {"t": list(toy_map.TIMES)}
    for axes, arm in zip(figure.axes, ("toy-none", "toy-R_3")):
        curves = np.reshape(results.first(arm, "paths"), (len(toy_map.STARTS), -1))
        for start, curve in zip(toy_map.STARTS, curves):
            axes.plot(toy_map.TIMES, curve, color=PALETTE[0], linestyle="-", linewidth=1)
            numbers[f"{arm} from {start:g}"] = list(curve)
        axes.set(title=f"{arm}: {results.mean(arm, 'nfe'):.0f} evaluations", xlabel="t")
    figure.axes[0].set_ylabel("z(t)")
    return figure, numbers


def cost(results: Results) -> Drawn:
    """Dense products and time of the gradient, by scheme."""
    names = ["online", "restarted", "nested", "doubling"]
    names = [n for n in names if results.values("schemes", f"{n}_dense")]
    if not names:
        return None
    figure = new(2.7, 1.8, ncols=2, sharey=True)
    dense = [float(results.mean("schemes", f"{n}_dense")) for n in names]
    milliseconds = [1e3 * float(results.mean("schemes", f"{n}_gradient_seconds")) for n in names]
    for axes, values, title in zip(
        figure.axes, (dense, milliseconds), ("dense products", "milliseconds")
    ):
        bars = axes.barh(names, values, height=0.6, color=PALETTE[0])
        axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8.5)
        axes.set_xlim(0, 1.2 * max(values))
        axes.set_title(title)
        axes.grid(visible=False)
    figure.axes[0].invert_yaxis()
    return figure, {"scheme": names, "dense products": dense, "milliseconds": milliseconds}


FIGURES = (
    Figure(
        "trade-off",
        "Fewer evaluations cost loss. A large dot is a mean over seeds; a line joins it with a "
        "tenth and ten times its weight, one seed each. Lower left is better.",
        trade_off,
    ),
    Figure(
        "matrix",
        "Evaluations at test time relative to training without a regulariser, mean over seeds: "
        "which R_K frees which solver (its order in brackets), when each test image has steps of "
        "its own, and when all are solved as one state. 1 would be no gain. 1e-6 and 1e-8 are the "
        "tolerances.",
        matrix,
    ),
    Figure(
        "toy",
        "Learnt trajectories that map z to z + z^3, without and with R_3: those of the first seed. "
        "The evaluations are means over seeds and starting points (Dopri5, 1e-8).",
        toy,
    ),
    Figure(
        "cost",
        "What the gradient of the K-th coefficient costs by each scheme: dense products in the "
        "compiled program, and time. K is the config's cost_order.",
        cost,
    ),
)
