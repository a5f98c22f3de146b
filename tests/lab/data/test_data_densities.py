"""The toy densities: reproducible, where they should be, and normalised where exact."""

import numpy as np
import pytest

from tenfold.lab.data import densities


@pytest.mark.parametrize("name", densities.NAMES)
def test_a_sample_is_a_function_of_its_arguments(name):
    first, again, other = (densities.sample(name, 500, seed) for seed in (0, 0, 1))
    assert first.shape == (500, 2)
    assert first.dtype == np.float32
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", densities.NAMES)
def test_a_density_is_about_centred_and_four_units_wide(name):
    x = densities.sample(name, 5000)
    assert (np.abs(x.mean(0)) < 0.2).all()
    assert (x.std(0) > 0.7).all()
    assert np.abs(x).max() < 6


def grid(reach=6.0, cells=600):
    """Midpoints of a grid of `cells` squared squares, and the area of each."""
    edge = (np.arange(cells) + 0.5) * (2 * reach / cells) - reach
    x = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
    return x, (2 * reach / cells) ** 2


@pytest.mark.parametrize("name", densities.EXACT)
def test_an_exact_density_integrates_to_one(name):
    x, area = grid()
    assert abs(np.exp(densities.log_prob(name, x)).sum() * area - 1) < 1e-6


@pytest.mark.parametrize("name", densities.EXACT)
def test_samples_follow_the_exact_density(name):
    """The mean log density of 20,000 samples is minus the entropy, |z| < 4."""
    x, area = grid()
    exact = densities.log_prob(name, x)
    entropy = -np.sum(np.exp(exact) * np.where(np.isfinite(exact), exact, 0)) * area
    drawn = densities.log_prob(name, densities.sample(name, 20_000))
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean() + entropy) <= 4 * drawn.std() / np.sqrt(len(drawn)) + 1e-6


def test_every_mode_and_square_is_visited_equally():
    """Counts of 8,000 samples over eight cells, each within 4 standard deviations."""
    bound = 4 * np.sqrt(8000 / 8 * 7 / 8)
    ring = densities.sample("eight_gaussians", 8000)
    sector = np.round(np.arctan2(ring[:, 1], ring[:, 0]) / (np.pi / 4)).astype(int) % 8
    squares = np.floor(densities.sample("checkerboard", 8000)).astype(int) @ np.array([10, 1])
    for cells in (sector, squares):
        _, counts = np.unique(cells, return_counts=True)
        assert len(counts) == 8
        assert (np.abs(counts - 1000) < bound).all()


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="no density 'three_moons': one of 'eight_gaussians'"):
        densities.sample("three_moons", 1)
    with pytest.raises(ValueError, match="closed form 'two_moons'"):
        densities.log_prob("two_moons", np.zeros((1, 2)))
