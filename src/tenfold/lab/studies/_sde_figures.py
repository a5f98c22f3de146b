"""The pictures of the sde study."""

from typing import Any

import numpy as np

from tenfold.lab.figures import GREY, PALETTE, Drawn, new
from tenfold.lab.results import Results
from tenfold.lab.study import Figure

SHOWN = 8
"""Sample paths that are drawn."""


def leading(
    samples: np.ndarray, truth: np.ndarray, train: np.ndarray, scale: np.ndarray
) -> dict[str, Any]:
    """A walk's two leading coordinates, of samples (samples, T, D) and truth (T, D): what the
    figure `walker` draws. They are the principal directions of the training frames."""
    frames = (train * scale).reshape(-1, train.shape[-1])
    directions = scale[:, None] * np.linalg.svd(frames[::10], full_matrices=False)[2][:2].T
    paths = samples[:SHOWN] @ directions
    return {"walk_samples": np.ravel(paths), "walk_truth": np.ravel(truth @ directions)}


def walker(results: Results) -> Drawn:
    """Sample paths over a test walk: both leading coordinates, by arm."""
    arms = [a for a in ("latent-sde", "latent-ode", "no-kl") if results.values(a, "walk_truth")]
    if not arms:
        return None
    figure = new(3.2, 2.0, ncols=len(arms), nrows=2, sharex=True, sharey=True)
    numbers: dict[str, Any] = {}
    for column, arm in enumerate(arms):
        truth, paths = results.first(arm, "walk_truth"), results.first(arm, "walk_samples")
        if truth is None or paths is None:
            continue
        truth = truth.reshape(-1, 2)
        paths = paths.reshape(-1, len(truth), 2)
        for row in (0, 1):
            axes = figure.axes[row * len(arms) + column]
            axes.plot(paths[:, :, row].T, color=PALETTE[0], linewidth=0.7, linestyle="-", alpha=0.6)
            axes.plot(truth[:, row], color=PALETTE[1], linestyle="-", linewidth=1.2)
            numbers[f"{arm} truth {row + 1}"] = truth[:, row]
            numbers |= {f"{arm} sample {i} {row + 1}": p for i, p in enumerate(paths[:, :, row])}
        figure.axes[column].set_title(arm)
        figure.axes[len(arms) + column].set_xlabel("frame")
    figure.axes[0].set_ylabel("1st coordinate")
    figure.axes[len(arms)].set_ylabel("2nd coordinate")
    return figure, numbers


def prediction(results: Results) -> Drawn:
    """Test error by arm, both ways of averaging."""
    known = ("latent-sde", "latent-ode", "no-kl", "nearest", "mean-frame")
    arms = [a for a in known if results.values(a, "test_mse")]
    if not arms:
        return None
    figure = new(5.2, 2.8)
    (axes,) = figure.axes
    numbers: dict[str, Any] = {"arm": arms}
    for i, (metric, label) in enumerate(
        (("test_mse", "mean of samples' errors"), ("test_mse_of_mean", "error of the mean"))
    ):
        values = [float(results.mean(arm, metric)) for arm in arms]
        axes.bar(np.arange(len(arms)) + 0.4 * i - 0.2, values, 0.38, color=PALETTE[i], label=label)
        numbers[metric] = values
    axes.set_xticks(range(len(arms)), arms)
    axes.set_ylabel("test mean square error")
    axes.legend()
    return figure, numbers


def orders(results: Results) -> Drawn:
    """Gradient error against step size."""
    steps = results.first("orders", "step_sizes")
    if steps is None:
        return None
    figure = new()
    (axes,) = figure.axes
    numbers: dict[str, Any] = {"step": steps}
    for name in ("euler", "milstein", "adjoint", "exact"):
        errors = results.mean("orders", f"{name}_errors")
        slope = float(results.mean("orders", f"{name}_gradient"))
        axes.plot(steps, errors, marker="o", label=f"{name}: slope {slope:.2f}")
        numbers[name] = errors
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="error of the gradient")
    axes.legend()
    return figure, numbers


def memory(results: Results) -> Drawn:
    """Bytes against steps."""
    counts = results.first("memory", "step_counts")
    if counts is None:
        return None
    figure = new()
    (axes,) = figure.axes
    numbers: dict[str, Any] = {"steps": counts}
    for name in ("exact", "adjoint", "stored"):
        used = results.mean("memory", f"{name}_bytes")
        axes.plot(counts, used / 1024, marker="o", label=name)
        numbers[f"{name} bytes"] = used
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="temporary memory, KiB")
    axes.legend()
    return figure, numbers


def reversal(results: Results) -> Drawn:
    """Error of the path solved backwards, along the way."""
    arms = [a for a in ("backward-stratonovich", "backward-ito") if results.values(a, "gap")]
    if not arms:
        return None
    figure = new()
    (axes,) = figure.axes
    numbers: dict[str, Any] = {}
    for arm in arms:
        gap = results.mean(arm, "gap")
        t = np.arange(len(gap)) / len(gap)
        axes.plot(t, gap, label=arm)
        numbers |= {"t": t, arm: gap}
    axes.set(yscale="log", xlabel="t (solved from 1 to 0)", ylabel="root mean square error")
    axes.legend()
    return figure, numbers


def lorenz(results: Results) -> Drawn:
    """First coordinate: data with the posterior's mean, and paths of the prior."""
    times = results.first("lorenz", "times")
    if times is None:
        return None
    figure = new(3.0, 2.4, ncols=3, sharey=True)
    numbers: dict[str, Any] = {"t": times}
    for i, name in enumerate(("data", "prior", "posterior")):
        found = results.first("lorenz", f"{name}_paths")
        assert found is not None
        paths = found.reshape(-1, len(times))
        axes = figure.axes[i]
        if name == "posterior":
            data = np.array([numbers[f"data {j}"] for j in range(len(paths))])
            axes.plot(times, data.T, color=GREY, linestyle="", marker=".", markersize=3)
        axes.plot(times, paths.T, color=PALETTE[i], linestyle="-", linewidth=0.9)
        axes.set(title=name, xlabel="t")
        numbers |= {f"{name} {j}": path for j, path in enumerate(paths)}
    figure.axes[0].set_ylabel("first coordinate")
    return figure, numbers


FIGURES = (
    Figure("orders", "Error of the gradient against the step; geometric Brownian motion.", orders),
    Figure("memory", "Temporary memory of the compiled gradient against steps.", memory),
    Figure("reversal", "Solving backwards by negated terms: error along the way.", reversal),
    Figure("prediction", "Test error on the walks, over seeds; two ways of averaging.", prediction),
    Figure(
        "walker",
        "A test walk (orange) in its two leading coordinates, and samples of the prediction from "
        "its first three frames. First seed.",
        walker,
    ),
    Figure("lorenz", "Lorenz paths, paths of the learnt prior, and the posterior's mean.", lorenz),
)
