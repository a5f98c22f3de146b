"""Two-dimensional toy densities, about four units wide, made by a formula and a seed."""

import math
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64

from tenfold.lab.data._files import chosen

Points = Float64[np.ndarray, "n 2"]
RADIUS, WIDTH = 3.0, 0.3
"""Of `eight_gaussians`: how far out the centres lie, and the standard deviation of each."""
_ANGLES = np.arange(8) * (math.pi / 4)
_CENTRES = RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _eight_gaussians(n: int, rng: np.random.Generator) -> Points:
    return _CENTRES[rng.integers(8, size=n)] + WIDTH * rng.standard_normal((n, 2))


def _two_moons(n: int, rng: np.random.Generator) -> Points:
    angle = rng.uniform(0, math.pi, n)
    upper = rng.integers(2, size=n) * 2 - 1
    # The lower moon is the upper one turned by half a turn about the origin.
    arc = _polar(np.full(n, 2.0), angle) - np.array([1.0, 0.5])
    return upper[:, None] * arc + 0.15 * rng.standard_normal((n, 2))


def _pinwheel(n: int, rng: np.random.Generator) -> Points:
    arm = rng.integers(5, size=n) * (2 * math.pi / 5)
    along = 2 + 0.6 * rng.standard_normal(n)
    across = 0.2 * rng.standard_normal(n)
    twist = arm + 0.5 * (along - 2)
    return _polar(along, twist) + _polar(across, twist + math.pi / 2)


def _checkerboard(n: int, rng: np.random.Generator) -> Points:
    column = rng.integers(-2, 2, size=n)
    row = 2 * rng.integers(-1, 1, size=n) + column % 2
    return np.stack([column, row], axis=-1) + rng.uniform(size=(n, 2))


def _rings(n: int, rng: np.random.Generator) -> Points:
    radius = rng.integers(1, 4, size=n) + 0.08 * rng.standard_normal(n)
    return _polar(radius, rng.uniform(0, 2 * math.pi, n))


def _two_spirals(n: int, rng: np.random.Generator) -> Points:
    # The square root spreads the points evenly along the arm rather than over the angle.
    turn = 3 * math.pi * np.sqrt(rng.uniform(size=n))
    side = rng.integers(2, size=n) * math.pi
    return _polar(turn / math.pi, turn + side) + 0.1 * rng.standard_normal((n, 2))


def _log_eight_gaussians(x: Points) -> Float64[np.ndarray, " n"]:
    squares = ((x[:, None, :] - _CENTRES) ** 2).sum(-1)
    mixture = np.logaddexp.reduce(-squares / (2 * WIDTH**2), axis=-1)
    return mixture - math.log(8 * 2 * math.pi * WIDTH**2)


def _log_checkerboard(x: Points) -> Float64[np.ndarray, " n"]:
    inside = (np.abs(x) < 2).all(-1) & (np.floor(x).sum(-1) % 2 == 0)
    return np.where(inside, -math.log(8), -math.inf)  # eight squares of area one


_SAMPLERS: MappingProxyType[str, Callable[[int, np.random.Generator], np.ndarray]] = (
    MappingProxyType(
        {
            "eight_gaussians": _eight_gaussians,
            "two_moons": _two_moons,
            "pinwheel": _pinwheel,
            "checkerboard": _checkerboard,
            "rings": _rings,
            "two_spirals": _two_spirals,
        }
    )
)
_LOG_PROBS: MappingProxyType[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"eight_gaussians": _log_eight_gaussians, "checkerboard": _log_checkerboard}
)
NAMES = tuple(_SAMPLERS)
EXACT = tuple(_LOG_PROBS)
"""Those whose `log_prob` has a closed form."""


def sample(name: str, n: int, seed: int = 0) -> Float32[np.ndarray, "n 2"]:
    """`n` independent points of the density `name` (one of `NAMES`), a function of the arguments.

    Raises ValueError for another name.
    """
    chosen(name, NAMES, "density")
    return _SAMPLERS[name](n, np.random.default_rng(seed)).astype(np.float32)


def log_prob(name: str, x: np.ndarray) -> Float64[np.ndarray, " n"]:
    """The normalised log density of points `x` (n, 2) in nats, exact; -inf outside the support.

    Only for the densities in `EXACT`; raises ValueError for another. On the host, in NumPy.
    """
    chosen(name, EXACT, "density with a closed form")
    return _LOG_PROBS[name](np.asarray(x, np.float64))
