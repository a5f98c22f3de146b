"""The pictures of the taylor study."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tenfold.lab.figures import GREY, PALETTE, new
from tenfold.lab.results import Results
from tenfold.lab.studies import _taylor_toy as toy_map
from tenfold.lab.study import Figure

Drawn = tuple[Any, Mapping[str, Any]] | None
REGULARISED = ["R_1", "R_2", "R_3", "R_4", "R_5", "RNODE"]
SOLVERS = {"heun": "Heun (2)", "bosh3": "Bosh3 (3)", "dopri5": "Dopri5 (5)", "dopri8": "Dopri8 (8)"}


def trade_off(results: Results) -> Drawn:
    """NFE against loss: every arm, and the other weights of the sweep."""
    figure = new(5.2, 3.4)
    (axes,) = figure.axes
    numbers: dict[str, list[float]] = {}
    for i, arm in enumerate(a for a in ["none", *REGULARISED] if results.values(a, "nfe_1e-8")):
        nfe = [float(results.mean(arm, "nfe_1e-8"))]
        loss = [float(results.mean(arm, "cross_entropy"))]
        if results.values(arm, "sweep_nfe_1e-8"):
            nfe += list(results.mean(arm, "sweep_nfe_1e-8"))
            loss += list(results.mean(arm, "sweep_cross_entropy"))
        order = np.argsort(nfe)
        nfe, loss = [nfe[j] for j in order], [loss[j] for j in order]
        colour = GREY if arm == "none" else PALETTE[(i - 1) % len(PALETTE)]
        axes.plot(nfe, loss, marker="o", markersize=4, color=colour, label=arm)
        numbers |= {f"{arm} evaluations": nfe, f"{arm} loss": loss}
    axes.set(
        xscale="log", xlabel="evaluations an image (Dopri5, 1e-8)", ylabel="test cross-entropy"
    )
    axes.legend(ncols=2)
    return (figure, numbers) if numbers else None


def matrix(results: Results) -> Drawn:
    """K x solver, relative to no regulariser: by image and jointly, at both tolerances."""
    arms = [a for a in REGULARISED if results.values(a, "each_heun_1e-6")]
    if not arms or not results.values("none", "each_heun_1e-6"):
        return None
    figure = new(3.4, 2.3, ncols=2, nrows=2)
    numbers: dict[str, list[Any]] = {"arm": list(arms)}
    panels = [(how, tol) for how in ("each", "joint") for tol in ("1e-6", "1e-8")]
    for axes, (how, tolerance) in zip(figure.axes, panels):
        for i, (solver, label) in enumerate(SOLVERS.items()):
            metric = f"{how}_{solver}_{tolerance}"
            base = results.mean("none", metric)
            ratios = [float(results.mean(arm, metric) / base) for arm in arms]
            axes.plot(range(len(arms)), ratios, marker="o", markersize=3, color=PALETTE[i],
                      label=label)  # fmt: skip
            numbers[metric] = [float(results.mean(arm, metric)) for arm in arms]
        axes.set_title(f"{'an image at a time' if how == 'each' else 'jointly'}, {tolerance}")
        axes.set_xticks(range(len(arms)), arms)
        axes.set_ylim(0, None)
        axes.axhline(1, color=GREY, linewidth=0.8)
    figure.axes[0].set_ylabel("evaluations / none")
    figure.axes[2].set_ylabel("evaluations / none")
    figure.axes[0].legend()
    return figure, numbers


def toy(results: Results) -> Drawn:
    """Trajectories of both toy arms, first seed."""
    if not results.values("toy-R_3", "paths") or not results.values("toy-none", "paths"):
        return None
    figure = new(3.0, 2.8, ncols=2, sharey=True)
    numbers: dict[str, list[float]] = {"t": list(toy_map.TIMES)}
    for axes, arm in zip(figure.axes, ("toy-none", "toy-R_3")):
        curves = np.reshape(
            next(iter(results.values(arm, "paths").values())), (len(toy_map.STARTS), -1)
        )
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
    figure = new(3.0, 2.4, ncols=2)
    dense = [float(results.mean("schemes", f"{n}_dense")) for n in names]
    milliseconds = [1e3 * float(results.mean("schemes", f"{n}_gradient_seconds")) for n in names]
    for axes, values, title in zip(
        figure.axes, (dense, milliseconds), ("dense products", "milliseconds")
    ):
        axes.bar(names, values, color=PALETTE[: len(names)])
        axes.set_title(title)
    return figure, {"scheme": names, "dense products": dense, "milliseconds": milliseconds}


FIGURES = (
    Figure(
        "trade-off",
        "Evaluations an image against test loss. Each curve is one K at three weights; the middle "
        "point is a mean over seeds, the outer ones (a tenth and ten times the weight) one seed.",
        trade_off,
    ),
    Figure("matrix", "Evaluations of each solver, relative to training without R_K.", matrix),
    Figure("toy", "Learnt trajectories that map z to z + z^3, without and with R_3.", toy),
    Figure("cost", "The gradient of the K-th coefficient: dense products and time.", cost),
)
