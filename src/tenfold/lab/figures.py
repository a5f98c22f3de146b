"""One look for all figures, and how they are saved: a deterministic SVG and the numbers drawn.

A study draws with `figure = new(ncols=2); left, right = figure.axes`, inside `with style():`
(the engine holds it open around `draw`), and takes colours from `PALETTE`. Nothing touches a
display or pyplot's global figure. Matplotlib is imported when something is drawn.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.lab.files import write_text_atomic

if TYPE_CHECKING:
    import matplotlib.figure

Drawn = tuple["matplotlib.figure.Figure", Mapping[str, Any]] | None
"""What a study's `draw` returns: the figure and the numbers drawn; None without a measurement."""
INK = "#24262b"
"""Text and axes; on the report's page it becomes the page's own text colour, light or dark."""
GRID = "#d5d3cd"
GREY = "#7b7f87"
"""For what is only a reference: a threshold, the truth, single seeds."""
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, told apart with any colour vision; the n-th arm takes the n-th."""
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
"""The n-th line's dashes, so that colour is never the only difference."""
_KEPT = ("backend", "interactive")  # setting them would look for a display


def _parameters() -> dict[str, Any]:
    from cycler import cycler

    return {
        "font.family": ["sans-serif"],
        "font.size": 9,
        "text.color": INK,
        "axes.prop_cycle": cycler(color=PALETTE, linestyle=DASHES),
        "axes.edgecolor": INK,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.7,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "errorbar.capsize": 2.5,
        "figure.facecolor": "none",
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "legend.handlelength": 2.4,
        "lines.linewidth": 1.7,
        "lines.markersize": 4.5,
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "tenfold",
        "xtick.color": INK,
        "xtick.labelsize": 8.5,
        "xtick.major.width": 0.7,
        "ytick.color": INK,
        "ytick.labelsize": 8.5,
        "ytick.major.width": 0.7,
    }


@contextmanager
def style() -> Iterator[None]:
    """Draws what is drawn inside in the house style, then restores the user's settings."""
    import matplotlib

    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_parameters()}
    with matplotlib.rc_context({k: v for k, v in settings.items() if k not in _KEPT}):
        yield


def new(
    width: float = 5.0,
    height: float = 3.1,
    *,
    nrows: int = 1,
    ncols: int = 1,
    sharex: bool = False,
    sharey: bool = False,
) -> "matplotlib.figure.Figure":
    """A styled figure with `nrows * ncols` axes, in `figure.axes` row by row.

    `width` and `height` are inches of one panel; the default is legible on a phone.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width * ncols, height * nrows), layout="constrained")
        figure.subplots(nrows, ncols, sharex=sharex, sharey=sharey)
    return figure


def save(
    figure: "matplotlib.figure.Figure",
    numbers: Mapping[str, Any],
    name: str,
    directory: Path,
) -> None:
    """Writes `<name>.svg` and, with the numbers drawn, `<name>.csv` in `directory`, atomically.

    **Arguments:** `numbers` maps a column's name to its values (a scalar or 1-D; lengths may
    differ: short columns end in empty cells).

    The same figure gives the same bytes: no date, fixed ids. Text stays text.

    **Raises:** `ValueError` for a column of more than one dimension; `FileError` when the files
    cannot be written.
    """
    table = _csv(numbers)
    drawing = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with style():
        figure.savefig(drawing, format="svg", metadata=metadata)
    write_text_atomic(directory / f"{name}.svg", drawing.getvalue())
    write_text_atomic(directory / f"{name}.csv", table)


def _csv(numbers: Mapping[str, Any]) -> str:
    columns = [_column(name, values) for name, values in numbers.items()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(numbers)
    writer.writerows(zip_longest(*columns, fillvalue=""))
    return text.getvalue()


def _column(name: str, values: Any) -> list[Any]:
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1:
        raise ValueError(
            f"figures.save: the column {name!r} has shape {array.shape}; 1-D is needed"
        )
    return array.tolist()
