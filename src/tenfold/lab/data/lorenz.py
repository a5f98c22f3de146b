"""Paths of the stochastic Lorenz system, seen with noise (arXiv 2001.01328, section 7.2)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

DRIFT = (10.0, 28.0, 8 / 3)
DIFFUSION = (0.1, 0.28, 0.3)


@dataclass(frozen=True)
class Lorenz:
    """dx = s (y - x) dt + a x dW1, dy = (x (r - z) - y) dt + b y dW2, dz = (x y - c z) dt + e z dW.

    An Ito equation with (s, r, c) = (10, 28, 8/3) and (a, b, e) = (0.1, 0.28, 0.3), from N(0, I).
    """

    times: Float64[np.ndarray, " T"]
    clean: Float64[np.ndarray, "n T 3"]
    """Scaled: each coordinate has mean 0 and standard deviation 1 over all paths and times."""
    values: Float32[np.ndarray, "n T 3"]
    """With noise of standard deviation `noise`."""
    noise: float


def load(
    n: int = 1024,
    seed: int = 0,
    *,
    steps: int = 100,
    horizon: float = 2.0,
    noise: float = 0.01,
    substeps: int = 50,
) -> Lorenz:
    """`n` paths at `steps` even times in [0, `horizon`], a function of the arguments.

    Solved by Milstein's scheme with `substeps` steps between two times. Raises ValueError for
    sizes below one (times: two).
    """
    if min(n, substeps) < 1 or steps < 2 or horizon <= 0 or noise < 0:
        raise ValueError(f"no such paths: {n=}, {steps=}, {horizon=}, {noise=}, {substeps=}")
    rng = np.random.default_rng(seed)
    z, spread = rng.standard_normal((n, 3)), np.array([DIFFUSION])
    times, path = np.linspace(0, horizon, steps), [z]
    h = times[1] / substeps
    for _ in range(steps - 1):
        for _ in range(substeps):
            w = np.sqrt(h) * rng.standard_normal((n, 3))
            z = z + h * _drift(z) + spread * z * w + 0.5 * spread**2 * z * (w**2 - h)
        path.append(z)
    clean = np.stack(path, axis=1)
    clean = (clean - clean.mean((0, 1))) / clean.std((0, 1))
    values = (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)
    return Lorenz(times, clean, values, noise)


def _drift(state: np.ndarray) -> np.ndarray:
    s, r, c = DRIFT
    x, y, z = state.T
    return np.stack([s * (y - x), x * (r - z) - y, x * y - c * z], axis=-1)
