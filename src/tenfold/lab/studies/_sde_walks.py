"""The walks of the sde study: motion capture or made up, scaled, and cut into windows."""

from functools import cache
from typing import Any, Literal

import numpy as np

from tenfold.lab.data import DataError, mocap, walks

SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
SEEN, FRAMES = 3, 300
"""Frames that a prediction sees, and frames of a walk."""
STRIDE = 20
"""Frames between the starts of two validation windows."""


@cache
def data(name: str) -> tuple[dict[str, np.ndarray], np.ndarray, bool]:
    """Scaled series by split, the scale of each channel, and whether they are motion capture.

    `name`: `mocap`, `walks`, or `auto`: motion capture where it is there.
    """
    real = name != "walks"
    try:
        rooms = {split: (mocap if real else walks).load(split) for split in SPLITS}
    except DataError:
        if name == "mocap":
            raise
        return data("walks")
    series = {split: room.series for split, room in rooms.items()}
    mean = series["train"].mean((0, 1))
    scale = series["train"].std((0, 1)) + 0.05 * series["train"].std()  # some barely move
    return {split: (x - mean) / scale for split, x in series.items()}, scale, real


def validation_windows(series: np.ndarray, window: int) -> np.ndarray:
    """Windows at every `STRIDE`-th start: three walks alone are a noisy judge."""
    starts = range(0, FRAMES - window + 1, STRIDE)
    return np.concatenate([series[:, start : start + window] for start in starts])


class Windows:
    """Batch i: a window of each walk at a random start, and the divergence's weight at step i."""

    def __init__(self, series: np.ndarray, window: int, seed: int, beta: float, warm_up: int):
        self._series, self._window, self._seed = series, window, seed
        self._beta, self._warm_up = beta, warm_up

    def __call__(self, i: int) -> tuple[np.ndarray, Any]:
        rng, length = np.random.default_rng([self._seed, i]), self._window
        starts = rng.integers(0, FRAMES - length + 1, len(self._series))
        rows = [x[start : start + length] for x, start in zip(self._series, starts)]
        weight = self._beta * min(1.0, (i + 1) / max(1, self._warm_up))
        return np.stack(rows), np.float32(weight)
