import numpy as np
import pytest

from tenfold.sde import union_grid

FIRST = ([0.0, 1.0], [[1.0, 2.0], [3.0, np.nan]])
SECOND = ([0.5, 1.0, 2.0], [[4.0, 5.0], [6.0, 7.0], [np.nan, np.nan]])


def test_every_value_is_at_its_time_and_nothing_else_is_seen():
    """The mask is True just where a value was given; elsewhere stands 0."""
    xs, ts, mask = union_grid([FIRST, SECOND])
    np.testing.assert_array_equal(ts, [0.0, 0.5, 1.0, 2.0])
    np.testing.assert_array_equal(xs[..., 0], [[1, 0, 3, 0], [0, 4, 6, 0]])
    np.testing.assert_array_equal(xs[..., 1], [[2, 0, 0, 0], [0, 5, 7, 0]])
    np.testing.assert_array_equal(mask[..., 1], [[1, 0, 0, 0], [0, 1, 1, 0]])
    assert mask.sum() == 7


def test_resolution_merges_times():
    """0.96 and 1.04 are both 1 at a resolution of 0.1."""
    xs, ts, _ = union_grid([([0.96], [[1.0]]), ([1.04, 2.0], [[2.0], [3.0]])], resolution=0.1)
    np.testing.assert_allclose(ts, [1.0, 2.0])
    np.testing.assert_array_equal(xs[:, 0, 0], [1.0, 2.0])


def test_what_does_not_fit_is_refused():
    """Two values at one time; shapes; a time that isn't finite; nothing at all."""
    with pytest.raises(ValueError, match="2 values of channel 0 at time 1, rounded"):
        union_grid([([0.96, 1.04], [[1.0], [2.0]])], resolution=0.1)
    with pytest.raises(ValueError, match=r"times \(2,\) and values \(3, 1\)"):
        union_grid([([0.0, 1.0], [[1.0]] * 3)])
    with pytest.raises(ValueError, match="not finite"):
        union_grid([([np.nan], [[1.0]])])
    with pytest.raises(ValueError, match="no series"):
        union_grid([])
