"""Damped oscillators seen at irregular times, some channels missing; the solution is exact."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64


@dataclass(frozen=True)
class Oscillators:
    """n series of x'' + 2 g x' + (g^2 + w^2) x = 0, whose solution is x = a exp(-g t) cos(w t + p).

    With a the amplitude, g the decay (1/s), w the frequency (rad/s) and p the phase (rad).
    """

    times: Float32[np.ndarray, "n steps"]
    """Seconds, ascending, drawn uniformly for each series."""
    values: Float32[np.ndarray, "n steps 2"]
    """Position and velocity with noise; 0 where the mask is False."""
    mask: Bool[np.ndarray, "n steps 2"]
    """Whether the value was seen; each channel goes missing on its own."""
    amplitude: Float64[np.ndarray, " n"]
    decay: Float64[np.ndarray, " n"]
    frequency: Float64[np.ndarray, " n"]
    phase: Float64[np.ndarray, " n"]
    noise: float
    """Standard deviation of what was added to the exact solution."""

    def exact(self, times: np.ndarray) -> Float64[np.ndarray, "n k 2"]:
        """Position and velocity of each series at `times` (n, k), or (k,) for all alike."""
        t = np.broadcast_to(np.asarray(times, np.float64), (len(self.phase), np.shape(times)[-1]))
        decay, frequency = self.decay[:, None], self.frequency[:, None]
        angle = frequency * t + self.phase[:, None]
        envelope = self.amplitude[:, None] * np.exp(-decay * t)
        position = envelope * np.cos(angle)
        velocity = -envelope * (decay * np.cos(angle) + frequency * np.sin(angle))
        return np.stack([position, velocity], axis=-1)


def load(
    n: int = 200,
    seed: int = 0,
    *,
    steps: int = 40,
    horizon: float = 10.0,
    noise: float = 0.05,
    seen: float = 0.8,
) -> Oscillators:
    """`n` series of `steps` times in [0, `horizon`] seconds, a function of the arguments.

    Every value is observed with probability `seen`. Amplitudes are uniform in [0.5, 1.5], decays
    in [0.05, 0.3], frequencies in [1, 3], phases in [0, 2 pi]. Raises ValueError for sizes below
    one or a `seen` outside (0, 1].
    """
    if min(n, steps) < 1 or not 0 < seen <= 1 or horizon <= 0 or noise < 0:
        raise ValueError(f"no such oscillators: {n=}, {steps=}, {horizon=}, {noise=}, {seen=}")
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, horizon, (n, steps)), axis=-1).astype(np.float32)
    ranges = ((0.5, 1.5), (0.05, 0.3), (1.0, 3.0), (0.0, 2 * np.pi))
    parameters = [rng.uniform(low, high, n) for low, high in ranges]
    mask = rng.uniform(size=(n, steps, 2)) < seen
    empty = np.zeros((n, steps, 2), np.float32)
    bare = Oscillators(times, empty, mask, *parameters, noise=noise)
    values = bare.exact(times) + noise * rng.standard_normal(mask.shape)
    values = np.where(mask, values, 0).astype(np.float32)
    return Oscillators(times, values, mask, *parameters, noise=noise)
