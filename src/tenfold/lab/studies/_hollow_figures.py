"""The pictures of the hollow study."""

from typing import Any

import numpy as np

from tenfold.lab.figures import GREY, PALETTE, Drawn, new
from tenfold.lab.results import Results
from tenfold.lab.studies import _hollow_sdes as sdes
from tenfold.lab.studies import _hollow_stiff as stiff
from tenfold.lab.studies import _hollow_toys as toys
from tenfold.lab.study import Figure


def samples(results: Results) -> Drawn:
    """Points of the data, and of both nets' flows."""
    arms = [a for a in ("toys", "toys-plain") if results.values(a, f"{toys.NAMES[0]}_samples")]
    if not arms:
        return None
    figure = new(1.9, 1.9, ncols=len(toys.NAMES), nrows=1 + len(arms), sharex=True, sharey=True)
    data, numbers = toys.points(toys.SHOWN, 0), {}
    for row, arm in enumerate(["data", *arms]):
        for column, name in enumerate(toys.NAMES):
            found = data[column] if arm == "data" else results.first(arm, f"{name}_samples")
            assert found is not None
            x = found.reshape(-1, 2)
            axes = figure.axes[row * len(toys.NAMES) + column]
            colour = GREY if arm == "data" else PALETTE[row - 1]
            axes.plot(x[:, 0], x[:, 1], linestyle="", marker=".", markersize=1.2, color=colour)
            axes.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal")
            axes.grid(False)
            if row == 0:
                axes.set_title(name.replace("_", " "))
            if column == 0:
                axes.set_ylabel(arm)
            numbers |= {f"{arm} {name} {i + 1}": x[:, i] for i in (0, 1)}
    return figure, numbers


def costs(results: Results) -> Drawn:
    """Operations and seconds of a divergence over those of f, against d."""
    sizes = results.first("costs", "sizes")
    if sizes is None:
        return None
    figure, numbers = new(3.4, 2.8, ncols=2), {"d": sizes}
    names = {"exact": "hollow, exact", "hutchinson": "Hutchinson, one probe", "dense": "d JVPs"}
    for axes, what in zip(figure.axes, ("flops", "seconds")):
        plain = results.mean("costs", f"f_{what}")
        for name, label in names.items():
            ratio = results.mean("costs", f"{name}_{what}") / plain
            axes.plot(sizes, ratio, marker="o", label=label)
            numbers[f"{name} {what} over f"] = ratio
        axes.set(xscale="log", yscale="log", xlabel="d")
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
        axes.set_title("operations" if what == "flops" else "time")
    figure.axes[0].set_ylabel("f and its divergence, over f")
    figure.axes[0].legend()
    return figure, numbers


SOLVERS = (
    "abm-functional", "abm-jacobi", "bdf-functional", "bdf-jacobi", "bdf-newton", "dopri5",
    "kvaerno5",
)  # fmt: skip


def table(results: Results) -> Drawn:
    """Evaluations of each solver at each rate and coupling; grey where one gave up."""
    arms = [arm for arm in SOLVERS if results.values(arm, "rate_evaluations")]
    if not arms:
        return None
    figure, numbers = new(4.6, 2.9, ncols=2, sharey=True), {"solver": arms}
    rows = {"rate": stiff.RATES, "coupling": stiff.COUPLINGS}
    for axes, (row, values) in zip(figure.axes, rows.items()):
        counts = np.array([results.mean(arm, f"{row}_evaluations") for arm in arms])
        solved = np.array([results.mean(arm, f"{row}_solved") for arm in arms])
        values = values[: counts.shape[1]]
        shade = np.where(solved == 1, np.log10(np.maximum(counts, 1)), np.nan)
        axes.imshow(shade, cmap="YlGnBu", vmin=1.3, vmax=5.5, aspect="auto")
        for i, j in np.ndindex(counts.shape):
            text = f"{counts[i, j]:,.0f}" if solved[i, j] == 1 else f"{1 - solved[i, j]:.0%} failed"
            axes.text(j, i, text, ha="center", va="center", fontsize=7)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_yticks(range(len(arms)), arms)
        axes.set_xlabel(row)
        axes.grid(False)
        for j, value in enumerate(values):
            numbers |= {f"{row} {value:g} evaluations": counts[:, j]}
            numbers |= {f"{row} {value:g} solved": solved[:, j]}
            seconds = [results.mean(arm, f"{row}_seconds")[j] for arm in arms]
            numbers |= {f"{row} {value:g} seconds": seconds}
    return figure, numbers


def likelihoods(results: Results) -> Drawn:
    """Test loss of the digits' flows, over seeds."""
    rows = {
        "64 pixels": ("hollow", "hutchinson", "plain", "plain-steps"),
        "16 components": ("d_h-1", "d_h-4", "d_h-16", "d_h-all"),
    }
    if not any(results.values(arm, "test_nll") for arms in rows.values() for arm in arms):
        return None
    figure, numbers = new(3.6, 2.8, ncols=2), {}
    for axes, (title, arms) in zip(figure.axes, rows.items()):
        for i, arm in enumerate(arms):
            values = list(results.values(arm, "test_nll").values())
            axes.plot([i] * len(values), values, linestyle="", marker="o", color=PALETTE[i])
            numbers[arm] = values
        axes.set_xticks(range(len(arms)), arms)
        axes.set_title(title)
    figure.axes[0].set_ylabel("test loss, nats")
    return figure, numbers


def bounds(results: Results) -> Drawn:
    """ELBO and log p of the VAE's test images by flow."""
    arms = [a for a in results.arms if a.startswith("vae-") and results.values(a, "test_elbo")]
    if not arms:
        return None
    figure = new(5.0, 2.8)
    (axes,) = figure.axes
    numbers: dict[str, Any] = {"arm": arms}
    for i, (metric, label) in enumerate((("test_elbo", "ELBO"), ("test_log_p", "log p"))):
        values = [float(results.mean(arm, metric)) for arm in arms]
        axes.plot(range(len(arms)), values, marker="o", linestyle="", color=PALETTE[i], label=label)
        numbers[metric] = values
    axes.set_xticks(range(len(arms)), [arm.removeprefix("vae-") for arm in arms])
    axes.set_ylabel("nats")
    axes.legend()
    return figure, numbers


def marginals(results: Results) -> Drawn:
    """True points and simulated ones of the fitted SDEs, early and late."""
    arms = [a for a in ("ou", "well") if results.values(a, f"true_{sdes.CHECKED[0]}")]
    if not arms:
        return None
    figure, numbers = new(2.6, 2.4, ncols=2, nrows=len(arms)), {}
    for i, arm in enumerate(arms):
        for j, k in enumerate((sdes.CHECKED[0], sdes.CHECKED[-1])):
            axes = figure.axes[2 * i + j]
            for name, colour in (("true", GREY), ("simulated", PALETTE[0])):
                found = results.first(arm, f"{name}_{k}")
                assert found is not None
                x = found.reshape(-1, 2)
                axes.plot(
                    x[:, 0], x[:, 1], linestyle="", marker=".", markersize=2, color=colour,
                    label=name,
                )  # fmt: skip
                numbers |= {f"{arm} {name} {k} {c + 1}": x[:, c] for c in (0, 1)}
            axes.set_title(f"{arm}, t = {sdes.TIMES[k]:g}")
    figure.axes[0].legend()
    return figure, numbers


FIGURES = (
    Figure("costs", "What f and its divergence cost, over f alone; masked conditioner.", costs),
    Figure("samples", "Data, and samples of flows by hollow and by unrestricted nets.", samples),
    Figure("likelihoods", "Test loss of the digits' flows; a point a seed.", likelihoods),
    Figure(
        "stiff",
        "Evaluations of each solver, mean over seeds, as the stiffness grows (coupling 0.1) and as "
        "the coupling does (rate 1,000); blank where it did not get there in 4,096 steps.",
        table,
    ),
    Figure("bounds", "The VAE's test images by flow, mean over seeds.", bounds),
    Figure("marginals", "Points of true and of fitted SDEs at two times. First seed.", marginals),
)
