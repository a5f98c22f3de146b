"""A claim holds, fails or stays unclear by the interval of what was measured."""

import math

import numpy as np
import pytest
from scipy import stats

from helpers import Z_BOUND
from tenfold.lab import Claim, Results, judge
from tenfold.lab.claim import t_interval


def claim(direction="lower", tolerance=0.0, against="b", compare="difference"):
    return Claim(
        "s/c", "says", "section 1", "m", "a", against, direction, tolerance, "off", compare
    )  # fmt: skip


def around(mean, half):
    """Three numbers whose 95 % interval is mean +- half."""
    step = half / (stats.t.ppf(0.975, 2) / math.sqrt(3))
    return {0: mean - step, 1: mean, 2: mean + step}


TABLE = [
    # direction, tolerance, mean, half-width of the interval, verdict
    ("lower", 0.0, -1.0, 0.9, "holds"),
    ("lower", 0.0, -1.0, 1.1, "unclear"),
    ("lower", 0.0, 1.0, 0.9, "fails"),
    ("lower", 0.0, 1.0, 1.1, "unclear"),
    ("lower", 0.5, -1.0, 0.4, "holds"),
    ("lower", 0.5, -1.0, 0.6, "unclear"),
    ("lower", 0.5, 0.0, 0.4, "fails"),
    ("lower", -0.5, 0.0, 0.4, "holds"),
    ("lower", -0.5, 0.0, 0.6, "unclear"),
    ("lower", -0.5, 1.0, 0.4, "fails"),
    ("higher", 0.0, 1.0, 0.9, "holds"),
    ("higher", 0.0, 1.0, 1.1, "unclear"),
    ("higher", 0.0, -1.0, 0.9, "fails"),
    ("higher", 0.5, 1.0, 0.4, "holds"),
    ("higher", 0.5, 1.0, 0.6, "unclear"),
    ("higher", 0.5, 0.0, 0.4, "fails"),
    ("higher", -0.5, 0.0, 0.4, "holds"),
    ("higher", -0.5, -1.0, 0.4, "fails"),
    ("near", 0.5, 0.0, 0.4, "holds"),
    ("near", 0.5, 0.2, 0.4, "unclear"),
    ("near", 0.5, 0.0, 0.6, "unclear"),
    ("near", 0.5, 1.0, 0.4, "fails"),
    ("near", 0.5, -1.0, 0.4, "fails"),
    ("near", 0.5, -1.0, 0.6, "unclear"),
]


@pytest.mark.parametrize(("direction", "tolerance", "mean", "half", "verdict"), TABLE)
def test_a_verdict_says_where_the_interval_lies(direction, tolerance, mean, half, verdict):
    """`holds` and `fails` need the whole interval on one side of the margin."""
    measured = judge(claim(direction, tolerance), around(mean, half), 0.0)
    assert measured.outcome == verdict
    assert (measured.low, measured.high) == pytest.approx((mean - half, mean + half))


@pytest.mark.parametrize(("direction", "verdict"), [("lower", "fails"), ("higher", "fails"),
                                                    ("near", "holds")])  # fmt: skip
def test_no_difference_at_all_is_neither_lower_nor_higher(direction, verdict):
    same = {0: 2.0, 1: 2.0, 2: 2.0}
    tolerance = 0.1 if direction == "near" else 0.0
    assert judge(claim(direction, tolerance), same, same).outcome == verdict


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_interval_is_that_of_a_paired_t_test(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(0.3, 2.0, size=n)
    want = stats.ttest_rel(a, b).confidence_interval(0.95)
    measured = judge(claim(), dict(enumerate(a.tolist())), dict(enumerate(b.tolist())))
    assert (measured.low, measured.high) == pytest.approx((want.low, want.high), rel=1e-12)
    assert measured.mean == pytest.approx(np.mean(a - b), rel=1e-12)


def test_a_ratio_is_judged_seed_by_seed():
    arm, rival = {0: 5.0, 1: 40.0, 2: 300.0}, {0: 10.0, 1: 100.0, 2: 1000.0}
    measured = judge(claim("lower", 1 / 3, compare="ratio"), arm, rival)
    assert list(measured.differences.values()) == pytest.approx([-0.5, -0.6, -0.7])
    assert measured.outcome == "holds"


def test_a_ratio_to_nothing_is_unclear():
    measured = judge(claim(compare="ratio"), {0: 1.0, 1: 1.0, 2: 1.0}, 0.0)
    assert measured.outcome == "unclear"
    assert "not finite" in measured.note


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_stay_unclear(seeds):
    measured = judge(claim(), dict.fromkeys(range(seeds), -5.0), 0.0)
    assert measured.outcome == "unclear"
    assert measured.note == f"{seeds} of at least 3 seeds"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_leaves_the_claim_unclear(bad):
    measured = judge(claim(), {0: -1.0, 1: bad, 2: -1.0, 3: -1.0}, 0.0)
    assert measured.outcome == "unclear"
    assert measured.note == "a measured value is not finite"
    assert set(measured.differences) == {0, 1, 2, 3}


def test_only_seeds_that_both_arms_finished_are_paired():
    arm, rival = {0: 1.0, 1: 2.0, 2: 3.0, 4: 5.0}, {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}
    measured = judge(claim("higher"), arm, rival)
    assert measured.differences == {1: 1.0, 2: 2.0, 4: 4.0}


def test_results_feed_a_claim_with_its_own_arms_and_metric():
    units = {"a": {s: {"m": 1.0, "other": 9.0} for s in range(3)},
             "b": {s: {"m": 2.0} for s in range(3)}}  # fmt: skip
    results = Results(None, units)
    assert results.judge(claim()).differences == {0: -1.0, 1: -1.0, 2: -1.0}
    assert results.judge(claim(against=0.5)).mean == 0.5
    assert results.judge(claim(against="absent")).note == "0 of at least 3 seeds"
    assert math.isnan(results.mean("absent", "m"))


def test_the_mean_of_a_curve_is_taken_point_by_point():
    results = Results(None, {"a": {0: {"m": [1.0, 2.0]}, 1: {"m": [3.0, 6.0]}}})
    np.testing.assert_array_equal(results.mean("a", "m"), [2.0, 4.0])


@pytest.mark.parametrize("tolerance", [0.0, -0.1])
def test_near_needs_a_tolerance(tolerance):
    with pytest.raises(ValueError, match="s/c: a 'near' claim needs a tolerance > 0"):
        claim("near", tolerance)


def test_a_tolerance_is_a_number():
    with pytest.raises(ValueError, match="s/c: the tolerance must be finite"):
        claim("lower", math.nan)


def test_an_interval_of_one_value_is_the_whole_line():
    assert t_interval([2.0]) == (2.0, -math.inf, math.inf)


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_a_false_alarm_is_as_rare_as_stated(direction):
    """With 3 seeds and no true difference, "holds" comes 2.5 % of the time (n = 4000, |z| < 4)."""
    rng = np.random.default_rng(7)
    draws = rng.normal(size=(4000, 3))
    judged = [judge(claim(direction), dict(enumerate(row)), 0.0) for row in draws.tolist()]
    rate = np.mean([verdict.outcome == "holds" for verdict in judged])
    assert abs(rate - 0.025) < Z_BOUND * math.sqrt(0.025 * 0.975 / len(draws))
