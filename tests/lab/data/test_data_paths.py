"""Made-up walks and Lorenz paths: shapes, laws and repeatability."""

import numpy as np
import pytest

from tenfold.lab.data import lorenz, mocap, walks


def test_walks_have_the_shape_of_the_mocap_set():
    """Counts, frames, channels, type, and about its scale."""
    for split, shape in mocap.SHAPES.items():
        series = walks.load(split).series
        assert series.shape == shape
        assert series.dtype == np.float32
    assert abs(walks.load("train").series.std() / walks.SCALE - 1) < 0.2


def test_walks_are_their_formula_plus_noise():
    """A fit of each channel by the harmonics of its walker's phase leaves just the noise."""
    found = walks.load("test", noise=0.3)
    k = np.arange(1, walks.HARMONICS + 1)
    for series, phase in zip(found.series, found.phase):
        angle = phase[:, None] * k
        basis = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
        fit = basis @ np.linalg.lstsq(basis, series, rcond=None)[0]
        variance = ((series - fit) ** 2).sum(0) / (walks.FRAMES - 6)
        count = variance.size * (walks.FRAMES - 6)
        assert abs(variance.mean() / 0.3**2 - 1) < 4 * np.sqrt(2 / count)


def test_walks_and_paths_are_functions_of_their_arguments():
    """The same seed gives the same numbers; splits and seeds differ."""
    first, again, other = (walks.load("val", seed).series for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (walks.load("test").series[:3] != first).any()
    one, two = (lorenz.load(4, 3, steps=5).values for _ in range(2))
    assert (one == two).all()


def test_lorenz_paths_are_scaled_and_seen_with_noise():
    """Mean 0 and deviation 1 a coordinate; the noise's deviation within 4 standard errors."""
    found = lorenz.load(50, 1, steps=40, noise=0.1)
    np.testing.assert_allclose(found.clean.mean((0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(found.clean.std((0, 1)), 1, rtol=1e-12)
    residual = found.values - found.clean
    assert abs(residual.std() / 0.1 - 1) < 4 / np.sqrt(2 * residual.size)


def test_milstein_steps_converge_to_a_fine_solution_without_noise(monkeypatch):
    """With the diffusion switched off, against SciPy's solver from the same start."""
    from scipy.integrate import solve_ivp

    monkeypatch.setattr(lorenz, "DIFFUSION", (0.0, 0.0, 0.0))
    found = lorenz.load(3, 0, steps=11, horizon=0.5, noise=0.0, substeps=2_000)
    starts = np.random.default_rng(0).standard_normal((3, 3))
    paths = np.stack(
        [
            solve_ivp(lambda t, y: lorenz._drift(y[None])[0], (0, 0.5), start,
                      t_eval=found.times, rtol=1e-9, atol=1e-9).y.T
            for start in starts
        ]
    )  # fmt: skip
    scaled = (paths - paths.mean((0, 1))) / paths.std((0, 1))
    np.testing.assert_allclose(found.clean, scaled, atol=0.02)


def test_impossible_sizes_are_refused():
    """Fewer than two times."""
    with pytest.raises(ValueError, match="steps=1"):
        lorenz.load(3, steps=1)
