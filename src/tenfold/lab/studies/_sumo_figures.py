"""The pictures of the sumo study."""

from typing import Any

import numpy as np

from tenfold.lab.figures import DASHES, GREY, INK, PALETTE, Drawn, new
from tenfold.lab.results import Results
from tenfold.lab.study import Figure


def costs(results: Results) -> Drawn:
    """Of the closed form: what is wrong on average, and how much a value scatters, by rows."""
    arm = "gaussian-costs"
    if not results.values(arm, "loo_rows"):
        return None
    figure = new(4.4, 3.0, ncols=2)
    left, right = figure.axes
    numbers: dict[str, Any] = {}
    names = {"loo": "SUMO", "paper": "as published", "jackknife": "JVI", "iwae": "IWAE"}
    for i, (name, label) in enumerate(names.items()):
        rows, spread = results.mean(arm, f"{name}_rows"), results.mean(arm, f"{name}_spread")
        bias = np.abs(results.mean(arm, f"{name}_bias"))
        look = {"color": PALETTE[i], "linestyle": DASHES[i], "marker": "o", "label": label}
        left.plot(rows, bias, **look)
        right.plot(rows, spread, **look)
        numbers |= {f"{name} rows": rows, f"{name} bias": bias, f"{name} spread": spread}
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("decoder rows a datum")
    left.set_ylabel("|bias|, nats (SUMO's: noise)")
    right.set_ylabel("standard deviation, nats")
    right.legend()
    return figure, numbers


def estimates(results: Results) -> Drawn:
    """Quantiles of single estimates, about the truth."""
    arms = {
        "gaussian-loo": "SUMO, 3.6 rows",
        "gaussian-published": "as published, 6.1 rows",
        "gaussian-iwae": "IWAE, 4 rows",
    }
    arms = {arm: label for arm, label in arms.items() if results.values(arm, "quantiles")}
    if not arms:
        return None
    figure = new(5.2, 3.1)
    (axes,) = figure.axes
    numbers: dict[str, Any] = {}
    for i, (arm, label) in enumerate(arms.items()):
        values = results.mean(arm, "quantiles")
        level = np.linspace(0, 1, len(values))
        axes.plot(level, values, color=PALETTE[i], linestyle=DASHES[i], label=label)
        numbers |= {"level": level, arm: values}
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle="-")
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xlabel("share of estimates below")
    axes.set_ylabel("estimate - log p(x), nats")
    axes.legend()
    return figure, numbers


def learning(results: Results) -> Drawn:
    """Validation NLL against seconds of a compiled step, all at the same mean rows."""
    names = {
        "sumo": "SUMO",
        "iwae": "IWAE",
        "elbo": "ELBO",
        "jackknife": "JVI (leaves the picture)",
    }
    names = {f"digits-{arm}": label for arm, label in names.items()}
    arms = [arm for arm in names if results.values(arm, "curve")]
    if not arms:
        return None
    figure = new(5.2, 3.3)
    (axes,) = figure.axes
    numbers: dict[str, Any] = {}
    lowest = np.inf
    for i, arm in enumerate(arms):
        step = float(np.median(list(results.values(arm, "step_seconds").values())))
        seconds = step * results.mean(arm, "curve_steps")
        curve = results.mean(arm, "curve")
        axes.plot(seconds, curve, color=PALETTE[i], linestyle=DASHES[i], label=names[arm])
        numbers |= {f"{arm} seconds": seconds, f"{arm} nll": curve}
        lowest = min(lowest, curve.min())
    axes.set_ylim(lowest - 0.2, lowest + 4)  # the jackknife is no bound, and its training runs off
    axes.set_xlabel("seconds of computing")
    axes.set_ylabel("validation NLL, nats")
    axes.legend()
    return figure, numbers


def funnels(results: Results) -> Drawn:
    """Draws of both fits over the funnel's own, at the first seed."""
    arms = [arm for arm in ("funnel-sumo", "funnel-iwae") if results.values(arm, "x1")]
    if not arms:
        return None
    rng = np.random.default_rng(0)
    x2 = 1.35 * rng.standard_normal(1000)
    x1 = np.exp(x2) * rng.standard_normal(1000)
    figure = new(3.4, 3.2, ncols=len(arms), sharex=True, sharey=True)
    numbers: dict[str, Any] = {"funnel x1": x1, "funnel x2": x2}
    for i, (axes, arm) in enumerate(zip(figure.axes, arms)):
        first, second = (results.first(arm, x) for x in ("x1", "x2"))
        axes.scatter(x1, x2, s=4, color=GREY, linewidths=0, label="funnel")
        axes.scatter(first, second, s=4, color=PALETTE[i], linewidths=0, label="fit")
        axes.set_xscale("symlog", linthresh=1.0)
        axes.set_title(f"{arm.removeprefix('funnel-').upper()}, KL {results.mean(arm, 'kl'):.2f}")
        axes.set_xlabel("x1")
        numbers |= {f"{arm} x1": first, f"{arm} x2": second}
    figure.axes[0].set_ylabel("x2")
    figure.axes[0].legend(markerscale=3)
    return figure, numbers


def policies(results: Results) -> Drawn:
    """KL from the best policy, by arm; a dot is a seed."""
    arms = ["sumo", "iwae", "independent", "autoregressive"]
    arms = [arm for arm in arms if results.values(f"policy-{arm}", "kl")]
    if not arms:
        return None
    figure = new(5.2, 2.8)
    (axes,) = figure.axes
    numbers: dict[str, Any] = {"policy": arms}
    seeds = sorted(results.values(f"policy-{arms[0]}", "kl"))
    for i, arm in enumerate(arms):
        values = list(results.values(f"policy-{arm}", "kl").values())
        axes.bar(i, np.mean(values), color=PALETTE[i], width=0.6)
        axes.plot([i] * len(values), values, "o", color=INK, markersize=3)
    for seed in seeds:
        column = [results.values(f"policy-{arm}", "kl").get(seed, np.nan) for arm in arms]
        numbers[f"seed {seed}"] = column
    axes.set_xticks(range(len(arms)), arms)
    axes.set_ylabel("KL from the best policy, nats")
    return figure, numbers


FIGURES = (
    Figure("costs", "Closed form: bias and spread of one estimate, against its rows.", costs),
    Figure("estimates", "Closed form: quantiles of single estimates, about the truth.", estimates),
    Figure("learning", "Digits: validation NLL against computing time, at equal rows.", learning),
    Figure("funnels", "Reverse KL: draws of the fits over the funnel (first seed).", funnels),
    Figure("policies", "20 bits: distance from the best policy; a dot is a seed.", policies),
)
