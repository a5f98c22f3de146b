import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tenfold.sumo import GeometricTail, OnlineTail, OptimalTail, PaperTail, PowerTail

FITTED = OptimalTail.from_beta(np.arange(1, 21) ** -3.0)
TAILS = {
    "paper": PaperTail(),
    "power": PowerTail(1.5),
    "geometric": GeometricTail(),
    "fitted": FITTED,
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
class TestEveryTail:
    def test_survival_begins_with_one_and_falls(self, tail):
        p = tail.survival(np.arange(1, 2000))
        assert p[0] == 1
        assert (np.diff(p[:300]) < 0).all()
        assert (p[:300] > 0).all()

    def test_largest_inverts_survival(self, tail):
        j = np.arange(1, 150)
        p = tail.survival(j)
        assert (tail.draw(p) == j).all()
        assert (tail.draw(np.nextafter(p[1:], 1)) == j[:-1]).all()

    def test_mean_is_the_sum_of_the_survival(self, tail):
        j = np.arange(1, 2_000_000)
        rest = 0.0
        s = getattr(tail, "s", None)
        if s is not None:  # Euler-Maclaurin for what lies beyond
            rest = tail.survival(j[-1]) * (j[-1] / (s - 1) - 0.5)
        assert tail.mean() == pytest.approx(float(tail.survival(j).sum()) + rest, rel=1e-7)

    def test_draws_on_host_and_device_have_its_distribution(self, tail, getkey):
        """Chi-square over the first values and what is beyond; false alarms 2 in 10,000."""
        n = 50_000
        host = tail.draw(1 - np.random.default_rng(1).random(n))
        device = np.asarray(tail.sample(getkey(), (n,)))
        survival = tail.survival(np.arange(1, 14))
        expected = n * np.append(-np.diff(survival), survival[-1])
        for draws in (host, device):
            assert draws.min() >= 1
            seen = np.bincount(np.minimum(draws, 13), minlength=14)[1:]
            assert stats.chisquare(seen, expected).pvalue > 1e-4

    def test_jax_and_numpy_agree(self, tail):
        j = np.arange(1, 200)
        np.testing.assert_allclose(
            tail.survival(jnp.asarray(j)), tail.survival(j), rtol=1e-4, atol=1e-30
        )


def test_the_papers_tail_has_the_briefs_moments():
    j = np.arange(1, 5000)
    p = PaperTail().survival(j)
    assert PaperTail().mean() == pytest.approx(5.07798, abs=1e-5)
    assert ((2 * j - 1) * p).sum() == pytest.approx(175, abs=0.5)


def test_a_power_tail_of_one_and_a_half_costs_zeta():
    assert 1 + PowerTail(1.5).mean() == pytest.approx(3.612, abs=1e-3)


def test_a_fitted_tail_is_the_square_root_of_the_second_moments():
    d = np.random.default_rng(0).standard_normal((200_000, 8)) / np.arange(1, 9) ** 2
    fitted = OptimalTail.from_pilot(d)
    np.testing.assert_allclose(fitted.table, np.arange(1, 9) ** -2.0, rtol=0.02)
    assert fitted.s == 1.9  # of the slope 2, as far as a finite variance lets it


def test_the_online_tail_pools_its_updates():
    d = np.random.default_rng(0).standard_normal((100, 6)) / np.arange(1, 7)
    online = OnlineTail()
    online.update(d[:40])
    online.update(d[40:])
    np.testing.assert_allclose(online.tail().table, OptimalTail.from_pilot(d).table)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PowerTail(1.0), "s > 1"),
        (lambda: PaperTail(ratio=1.0), "ratio"),
        (lambda: GeometricTail(0.0), "ratio"),
        (lambda: OptimalTail((0.5,), 1.5), "begin with 1"),
        (lambda: OptimalTail.from_beta(np.array([1.0, math.nan])), "finite"),
        (lambda: OnlineTail().tail(), "no differences"),
    ],
)
def test_bad_tails_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_large_k_is_drawn_on_the_device_as_often_as_it_should_be(x64):
    """A float32 uniform would end at 2^-24: K of the paper's tail at 189."""
    k = jax.jit(lambda u: PaperTail().largest(u))(jnp.array([2.0**-24, 2.0**-50]))
    assert k[1] - k[0] == pytest.approx(26 * math.log(2) / -math.log(0.9), abs=1.5)
