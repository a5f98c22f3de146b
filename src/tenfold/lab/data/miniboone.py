"""MINIBOONE: 43 measures of 36,488 electron neutrinos, as in the papers on density estimation."""

from pathlib import Path

import numpy as np

from tenfold.lab.data._catalogue import file
from tenfold.lab.data._files import DataError, chosen
from tenfold.lab.data._find import in_folder, locate
from tenfold.lab.data._tables import SPLITS, Split, Table, part_of

SHAPE = (36_488, 43)
PREPARED, EVENTS = "data.npy", "MiniBooNE_PID.txt"


def load(split: Split = "train") -> Table:
    """29,556 rows to train on, 3,284 to validate or 3,648 to test on, standardised.

    The choice of rows and columns is that of Papamakarios and others (arXiv 1705.07057): signal
    events, without those whose first measure is missing; columns whose least value occurs more
    than five times are left out.

    Source: UCI's `miniboone/MiniBooNE_PID.txt`, in TENFOLD_DATA, the cache or a download (no
    published hash is known to us: recorded at the first); or `miniboone/data.npy` in TENFOLD_DATA,
    the rows as those authors prepared them. Raises DataError where both are absent or damaged,
    ValueError for another split.
    """
    chosen(split, SPLITS)
    dataset, prepared = file("miniboone", PREPARED)
    _, events = file("miniboone", EVENTS)
    if in_folder(dataset, prepared) and not in_folder(dataset, events):
        path = locate(dataset, prepared).path
        rows = _array(path)
    else:
        path = locate(dataset, events).path
        rows = _selected(_signal(path))
    if rows.shape != SHAPE:
        raise DataError(f"{path} gives rows of shape {rows.shape}, expected {SHAPE}")
    if not np.isfinite(rows).all():
        raise DataError(f"{path} has values that are not finite")
    return part_of(rows, split)


def _array(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no array that NumPy can read: {error}") from error
    if rows.dtype.kind != "f":
        raise DataError(f"{path} holds {rows.dtype}, expected floats")
    return rows


def _signal(path: Path) -> np.ndarray:
    """The first events of the file: its first line says how many are signal and background."""
    try:
        with path.open(encoding="ascii") as lines:
            signal, _ = map(int, lines.readline().split())
            return np.loadtxt(lines, max_rows=signal, ndmin=2)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not UCI's table of events: {error}") from error


def _selected(events: np.ndarray) -> np.ndarray:
    rows = events[events[:, 0] >= -100]
    repeats = (rows == rows.min(0)).sum(0)
    return rows[:, repeats <= 5]
