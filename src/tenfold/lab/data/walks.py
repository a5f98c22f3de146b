"""Made-up walks: noisy limit cycles seen in many channels, for where motion capture is absent."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from tenfold.lab.data._files import chosen

Split = Literal["train", "val", "test"]
COUNTS = {"train": 16, "val": 3, "test": 4}
FRAMES, CHANNELS, HARMONICS = 300, 50, 3
SCALE = 5.8
"""Standard deviation over all values, about that of the motion capture set."""


@dataclass(frozen=True)
class Walks:
    series: Float32[np.ndarray, "n 300 50"]
    """x_c = sum_k s_k a_ck cos(k phase + p_ck) + noise, for channel c and harmonic k = 1, 2, 3."""
    phase: Float64[np.ndarray, "n 300"]
    """Radians; it runs at its walker's pace, with random increments."""


def load(split: Split = "train", seed: int = 0, *, noise: float = 0.3) -> Walks:
    """16 walks to train on, 3 to validate or 4 to test on, of the motion capture set's shape.

    All share the channels' amplitudes and phases, drawn from `seed`. A walker has a pace, a start
    and strengths s of the harmonics of his own. About 100 frames are a stride. Raises ValueError
    for another split.
    """
    chosen(split, tuple(COUNTS))
    shared = np.random.default_rng([seed, 0])
    amplitudes = shared.standard_normal((HARMONICS, CHANNELS)) / np.array([[1.0], [2.0], [4.0]])
    shifts = shared.uniform(0, 2 * np.pi, (HARMONICS, CHANNELS))
    own = np.random.default_rng([seed, 1 + list(COUNTS).index(split)])
    n = COUNTS[split]
    pace = 2 * np.pi / 100 * own.uniform(0.9, 1.1, (n, 1))
    steps = pace * (1 + 0.1 * own.standard_normal((n, FRAMES)))
    phase = own.uniform(0, 2 * np.pi, (n, 1)) + np.cumsum(steps, axis=1)
    strength = own.uniform(0.8, 1.2, (n, HARMONICS, 1, 1))
    k = np.arange(1, HARMONICS + 1)[None, :, None, None]
    angle = k * phase[:, None, :, None] + shifts[None, :, None, :]
    clean = np.sum(strength * amplitudes[None, :, None, :] * np.cos(angle), axis=1)
    unit = np.sqrt(np.mean(np.sum(amplitudes**2, axis=0)) / 2)
    series = SCALE / unit * clean + noise * own.standard_normal(clean.shape)
    return Walks(series.astype(np.float32), phase)
