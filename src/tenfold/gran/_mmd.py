"""Squared maximum mean discrepancy of two sets of rows, with its interval. *Host.*"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from tenfold.base.typing import Key
from tenfold.gran._graph import Graphs
from tenfold.gran._histograms import Rows, clustering, degree, orbit4, spectral

Distance = Callable[[Rows, Rows], np.ndarray]
"""Rows (n, bins) and (m, bins) -> distances (n, m)."""


def total_variation(x: Rows, y: Rows) -> Float[np.ndarray, "n m"]:
    """Half the L1 distance of each row of x from each of y, as in arXiv 1910.00760. *Host.*"""
    return 0.5 * _cdist(x, y, "cityblock")


def earth_mover(x: Rows, y: Rows, *, width: int | float = 1.0) -> Float[np.ndarray, "n m"]:
    """L1 distance of the cumulated rows times the bins' `width`, as GraphRNN compares. *Host.*

    For rows of equal sum it is the least work of moving one onto the other.
    """
    return width * _cdist(np.cumsum(x, axis=1), np.cumsum(y, axis=1), "cityblock")


def euclidean(x: Rows, y: Rows) -> Float[np.ndarray, "n m"]:
    """L2 distance of each row of x from each of y. *Host.*"""
    return _cdist(x, y, "euclidean")


def _cdist(x: np.ndarray, y: np.ndarray, metric: Any) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(x, y, metric)


def mmd(
    x: Rows, y: Rows, *, distance: Distance = total_variation, sigma: int | float = 1.0
) -> float:
    r"""The *squared* maximum mean discrepancy, as a V-statistic (so never below 0). *Host.*

    $$\overline{k(x, x')} + \overline{k(y, y')} - 2\,\overline{k(x, y)}, \qquad
      k = \exp(-d^2 / 2 \sigma^2)$$

    All pairs count, those of a graph with itself too: with few graphs the value is above 0 even
    for two samples of one distribution; compare it with that of a training and a test set.

    **Raises:** ValueError for empty input or a sigma that is not positive.
    """
    return _of_gram(*_gram(x, y, distance, sigma))


class Interval(NamedTuple):
    """A value and the ends of its interval."""

    value: float
    low: float
    high: float


def mmd_interval(
    x: Rows,
    y: Rows,
    *,
    distance: Distance = total_variation,
    sigma: int | float = 1.0,
    level: int | float = 0.95,
    draws: int = 1000,
    key: Key,
) -> Interval:
    """`mmd` and its bootstrap interval: both sets are drawn again, graph by graph. *Host.*

    A resample repeats graphs, which raises a V-statistic; the draws are therefore moved so that
    their mean is the value, and clipped at 0. Near 0 the interval is rough.
    """
    if not 0 < level < 1 or draws < 2:
        raise ValueError(f"mmd_interval: 0 < `level` < 1 and `draws` >= 2, got {level}, {draws}")
    grams = _gram(x, y, distance, sigma)
    value = _of_gram(*grams)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    wx = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), draws) / len(x)
    wy = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), draws) / len(y)
    drawn = _quadratic(wx, grams[0], wx) + _quadratic(wy, grams[1], wy)
    drawn = drawn - 2 * _quadratic(wx, grams[2], wy)
    ends = np.quantile(drawn - drawn.mean() + value, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, *map(float, np.maximum(ends, 0)))


def _quadratic(a: np.ndarray, gram: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a @ gram) * b).sum(axis=1)


def _of_gram(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    return max(0.0, float(xx.mean() + yy.mean() - 2 * xy.mean()))


def _gram(x: Rows, y: Rows, distance: Distance, sigma: float):
    if not len(x) or not len(y) or not sigma > 0:
        raise ValueError(f"mmd: `x`, `y` need rows, `sigma` > 0; got {len(x)}, {len(y)}, {sigma}")
    bins = max(x.shape[1], y.shape[1])
    x, y = (np.pad(rows, ((0, 0), (0, bins - rows.shape[1]))) for rows in (x, y))
    pairs = ((x, x), (y, y), (x, y))
    return tuple(np.exp(-(distance(a, b) ** 2) / (2 * sigma**2)) for a, b in pairs)


class Statistic(NamedTuple):
    """One column of a comparison: what is counted, how far apart, how wide the kernel."""

    rows: Callable[[Sequence[Any]], Rows]
    distance: Distance
    sigma: int | float


def _clustering_mover(x: Rows, y: Rows) -> np.ndarray:
    return earth_mover(x, y, width=1 / 100)


def _spectral_mover(x: Rows, y: Rows) -> np.ndarray:
    return earth_mover(x, y, width=2 / 200)


TOTAL_VARIATION = {
    "degree": Statistic(degree, total_variation, 1.0),
    "clustering": Statistic(clustering, total_variation, 0.1),
    "orbit": Statistic(orbit4, total_variation, 30.0),
    "spectral": Statistic(spectral, total_variation, 1.0),
}
"""The comparison of arXiv 1910.00760."""

EARTH_MOVER = {
    "degree": Statistic(degree, earth_mover, 1.0),
    "clustering": Statistic(clustering, _clustering_mover, 0.1),
    "orbit": Statistic(orbit4, euclidean, 30.0),
    "spectral": Statistic(spectral, _spectral_mover, 1.0),
}
"""GraphRNN's; its figures and those of `TOTAL_VARIATION` can't be compared."""


def compare(
    graphs: Sequence[Any],
    reference: Sequence[Any],
    *,
    statistics: dict[str, Statistic] = TOTAL_VARIATION,
) -> dict[str, float]:
    """Squared MMD of `graphs` from `reference`, by statistic. *Host.*

    `compare(train, test)` is the floor: what even graphs of the right distribution get.

    **Raises:** ValueError for an empty list or an empty graph.
    """
    ours, theirs = Graphs(graphs), Graphs(reference)
    return {
        name: mmd(s.rows(ours), s.rows(theirs), distance=s.distance, sigma=s.sigma)
        for name, s in statistics.items()
    }
