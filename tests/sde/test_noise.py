"""What every Brownian motion of the package must be, and what a solve on a grid sees of it."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from helpers import Z_BOUND, assert_close, assert_unbiased, z_score
from tenfold.sde import DyadicNoise, GridNoise, VirtualBrownianTree
from tenfold.sde._grid import refined

T0, T1, STEPS = 0.5, 2.5, 16
TIMES = np.linspace(T0, T1, STEPS + 1)
STEP = (T1 - T0) / STEPS

NOISES = {
    "grid": lambda key, shape, fine=4: GridNoise(key, shape, T0, T1, STEPS * fine),
    "dyadic": lambda key, shape: DyadicNoise(key, shape, T0, T1, 7),
    "dyadic with area": lambda key, shape: DyadicNoise(key, shape, T0, T1, 7, area=True),
    "tree": lambda key, shape: VirtualBrownianTree(key, shape, T0, T1, 1e-3),
}
ANY_TIME = [name for name in NOISES if name != "grid"]
AREA = {
    "grid": lambda key, shape: GridNoise(key, shape, T0, T1, STEPS),
    "grid, four steps in one": lambda key, shape: GridNoise(key, shape, T0, T1, 4 * STEPS),
    "dyadic": NOISES["dyadic with area"],
}


def blocks(noise, area=False):
    return noise.on(refined(jnp.asarray(TIMES), 1, noise.dtype), area=area)


def increments(make, key, shape, area=False):
    """All steps of the grid, (STEPS, *shape), in one compiled call."""
    return jax.jit(lambda key: blocks(make(key, shape), area)(jnp.int32(0), STEPS))(key)


def correlation_z(a, b):
    """How far the correlation of two samples lies from 0, in standard errors."""
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1] * np.sqrt(np.size(a)))


@pytest.mark.parametrize("make", NOISES.values(), ids=NOISES)
class TestEveryNoise:
    @pytest.mark.bits
    def test_the_same_bits_come_back_in_any_order_jitted_and_vmapped(self, make, getkey):
        """Backwards, one by one, in runs, jitted or not, the increments are bitwise the same."""
        block = blocks(make(getkey(), (3,)))
        run = np.asarray(block(jnp.int32(0), STEPS).w)  # one operation after another
        one = jax.jit(lambda i: block(i, 1).w[0])
        fours = jax.jit(jax.vmap(lambda i: block(i, 4).w))(jnp.arange(0, STEPS, 4))
        for _ in range(2):
            backwards = [one(jnp.int32(i)) for i in reversed(range(STEPS))]
            np.testing.assert_array_equal(np.stack(backwards[::-1]), run)
        np.testing.assert_array_equal(np.asarray(fours).reshape(run.shape), run)

    def test_a_run_may_have_any_length(self, make, getkey):
        """Runs that are no powers of two, at any start, hold the same increments."""
        block = blocks(make(getkey(), (2,)))
        run = jax.jit(lambda: block(jnp.int32(0), STEPS).w)()
        for size, firsts in {3: (0, 3, 5, 13), 7: (1, 9)}.items():
            odd = jax.jit(jax.vmap(lambda i, size=size: block(i, size).w))(jnp.asarray(firsts))
            assert_close(odd, jnp.stack([run[i : i + size] for i in firsts]), 1e-6)

    def test_increments_are_normal_with_the_variance_of_their_step(self, make, getkey):
        """Mean 0, variance h, and a Kolmogorov-Smirnov test for the normal."""
        w = increments(make, getkey(), (2000,)).w
        assert_unbiased(w, 0.0)
        assert_unbiased(w**2, STEP)
        assert stats.kstest(np.ravel(w) / np.sqrt(STEP), "norm").pvalue > 6e-5

    def test_steps_keys_and_entries_are_independent(self, make, getkey):
        """No correlation between neighbouring steps, entries, or two keys; nor of squares."""
        w = np.asarray(increments(make, getkey(), (2000, 2)).w)
        other = np.asarray(increments(make, getkey(), (2000, 2)).w)
        pairs = [(w[1:], w[:-1]), (w[..., 0], w[..., 1]), (w[:, 1:], w[:, :-1]), (w, other)]
        for a, b in pairs:
            assert abs(correlation_z(a, b)) < Z_BOUND
            assert abs(correlation_z(a**2, b**2)) < Z_BOUND

    def test_keys_may_be_vmapped(self, make, getkey):
        """A batch of keys gives the paths that each gives by itself."""
        keys = jax.random.split(getkey(), 3)
        one = jax.jit(lambda key: blocks(make(key, (2,)))(jnp.int32(3), 1).w)
        batch = jax.jit(jax.vmap(one))(keys)
        np.testing.assert_array_equal(batch, np.stack([one(key) for key in keys]))

    def test_as_a_diffrax_path_it_gives_the_same_increments(self, make, getkey):
        """`evaluate` between grid points, both ways, and from the start."""
        noise = make(getkey(), (3,))
        w, t = (
            jax.jit(lambda: blocks(noise)(jnp.int32(0), STEPS).w)(),
            jnp.asarray(TIMES, jnp.float32),
        )
        path = jax.jit(lambda s, t: (noise.evaluate(s, t), noise.evaluate(t, s), noise.evaluate(t)))
        for i in (0, 7, STEPS - 1):
            ahead, back, value = path(t[i], t[i + 1])
            assert_close(ahead, w[i], 1e-5)
            assert_close(back, -w[i], 1e-5)
            assert_close(value, jnp.sum(w[: i + 1], axis=0), 1e-5)
        levy = noise.evaluate(t[2], t[3], use_levy=True)
        assert isinstance(levy, noise.levy_area)
        assert_close(levy.dt, t[3] - t[2])

    def test_the_dtype_is_kept(self, make, getkey, x64):
        """Float64 by default under x64, and its value at the end is the sum of the steps."""
        noise = make(getkey(), (3,))
        w = jax.jit(lambda: blocks(noise)(jnp.int64(0), STEPS).w)()
        assert noise.dtype == w.dtype == jnp.float64
        assert_close(noise.evaluate(noise.t1), jnp.sum(w, axis=0), 1e-12)

    def test_outside_its_interval_a_path_is_nan(self, make, getkey):
        """Not the value at the end, not zero."""
        noise = make(getkey(), (2,))
        for t in (T0 - 0.01, T1 + 0.01):
            assert np.isnan(noise.evaluate(jnp.float32(t))).all()


@pytest.mark.parametrize("make", [NOISES[n] for n in ANY_TIME], ids=ANY_TIME)
class TestAnyTime:
    def test_covariance_is_the_earlier_time(self, make, getkey):
        """cov(W(s), W(t)) = min(s, t) - t0, at times on no grid."""
        times = np.array([0.63, 0.9, 1.71, 2.2])
        noise = make(getkey(), (8000,))
        w = np.asarray(jax.jit(jax.vmap(noise.value))(jnp.asarray(times, noise.dtype)))
        for i, s in enumerate(times):
            for j, t in enumerate(times):
                # Inside a leaf the path is its mean, at most a quarter of it short of variance.
                slack = 1e-3 + (T1 - T0) / 2**9
                spread = np.std(w[i] * w[j]) / np.sqrt(w.shape[1])
                assert abs(np.mean(w[i] * w[j]) - (min(s, t) - T0)) < Z_BOUND * spread + slack

    def test_between_two_values_lies_a_bridge(self, make, getkey):
        """Given W(s) and W(e): mean by interpolation, variance (e - t)(t - s) / (e - s)."""
        s, t, e = 0.75, 1.0, 1.75
        noise = make(getkey(), (20000,))
        a, w, b = np.asarray(jax.jit(jax.vmap(noise.value))(jnp.asarray([s, t, e])))
        rest = w - (a + (t - s) / (e - s) * (b - a))
        assert_unbiased(rest, 0.0)
        assert_unbiased(rest**2, (e - t) * (t - s) / (e - s))
        assert abs(correlation_z(rest, a)) < Z_BOUND
        assert abs(correlation_z(rest, b)) < Z_BOUND
        assert stats.kstest(rest / np.sqrt(0.1875), "norm").pvalue > 6e-5

    def test_increments_are_differences_of_values(self, make, getkey, x64):
        """`between` and `value` tell of one path, whatever the times; also past a rounding."""
        noise = make(getkey(), (3,))
        s, t = np.sort(np.random.default_rng(0).uniform(T0, T1, (40, 2)), axis=1).T
        s[0], t[0] = T0, T1 * (1 + 2e-16)
        between = jax.jit(jax.vmap(lambda s, t: noise.between(s, t).w))(s, t)
        value = jax.jit(jax.vmap(noise.value))
        assert_close(between, value(t) - value(s), 1e-13)


@pytest.mark.parametrize("make", AREA.values(), ids=AREA)
def test_increment_and_time_integral_have_their_joint_distribution(make, getkey):
    """var w = h, var area = h^3 / 3, cov = h^2 / 2, and no correlation with the next step."""
    step = increments(make, getkey(), (2000,), area=True)
    w, area = np.asarray(step.w, np.float64), np.asarray(step.area, np.float64)
    assert_unbiased(area, 0.0)
    assert_unbiased(w**2, STEP)
    assert_unbiased(area**2, STEP**3 / 3)
    assert_unbiased(w * area, STEP**2 / 2)
    for a, b in [(area, w), (area, area), (w, area)]:
        assert abs(correlation_z(a[1:], b[:-1])) < Z_BOUND
    rest = (area - STEP * w / 2) / np.sqrt(STEP**3 / 12)
    assert stats.kstest(rest.ravel(), "norm").pvalue > 6e-5


def test_uneven_grids_have_steps_of_their_own_variance(getkey):
    """`GridNoise.at` any times: each step's variance is its length."""
    times = jnp.asarray([0.0, 0.1, 0.15, 0.7, 2.0])
    noise = GridNoise.at(getkey(), (20000,), times)
    w = noise.on(refined(times, 1, noise.dtype), area=False)(jnp.int32(0), 4).w
    for i, h in enumerate(np.diff(times)):
        assert abs(z_score(w[i] ** 2, float(h))) < Z_BOUND


def test_a_tree_serves_an_uneven_grid(getkey):
    """Each step's variance is its length on a grid that has nothing dyadic about it."""
    times = jnp.asarray([0.53, 0.7, 0.77, 1.9, 2.41])
    noise = VirtualBrownianTree(getkey(), (20000,), T0, T1, 1e-4)
    w = noise.on(refined(times, 1, noise.dtype), area=False)(jnp.int32(0), 4).w
    for i, h in enumerate(np.diff(times)):
        assert abs(z_score(w[i] ** 2, float(h))) < Z_BOUND


def test_a_coarse_grid_sees_sums_of_the_fine_one(getkey, x64):
    """w is the sum; the time integral is that of the concatenated path."""
    noise = GridNoise.at(getkey(), (3,), jnp.asarray([0.0, 0.1, 0.4, 0.5, 1.0]))
    fine = [noise.increment(i, area=True) for i in range(4)]
    coarse = noise.on(refined(noise.times[::2], 1, noise.dtype), area=True)(jnp.int32(0), 2)
    for k in range(2):
        a, b = fine[2 * k], fine[2 * k + 1]
        assert_close(coarse.w[k], a.w + b.w, 1e-14)
        length = noise.times[2 * k + 2] - noise.times[2 * k + 1]
        assert_close(coarse.area[k], a.area + b.area + length * a.w, 1e-14)


def test_times_that_are_traced_and_off_the_grid_give_nan(getkey):
    """While tracing a mismatch can't be refused; it must not pass for a result either."""
    noises = [
        GridNoise(getkey(), (2,), 0.0, 1.0, 4),
        DyadicNoise(getkey(), (2,), 0.0, 1.0, 4),
        VirtualBrownianTree(getkey(), (2,), 0.0, 1.0, 1e-3),
    ]
    for noise in noises:

        def first(ts, noise=noise):
            return noise.on(refined(ts, 1, noise.dtype), area=False)(jnp.int32(0), 4).w

        even = jnp.linspace(0.0, 1.0, 5)
        assert np.isfinite(jax.jit(first)(even)).all()
        assert np.isnan(jax.jit(first)(even + 0.5)).any()


def test_a_grid_noise_knows_only_its_grid(getkey):
    """As a Diffrax path it answers nan between its points, and is refused on other grids."""
    noise = GridNoise(getkey(), (2,), 0.0, 1.0, 8)
    assert np.isnan(noise.evaluate(0.3)).all()
    for ts in ([0.0, 0.5, 1.1], [0.0, 0.3, 1.0], [0.0, 0.3, 0.6, 1.0]):
        with pytest.raises(ValueError, match="not on the grid of the noise, which has 8"):
            noise.on(refined(jnp.asarray(ts), 1, noise.dtype), area=False)


def test_wrong_arguments_are_refused(getkey):
    """Each with one message that names the argument."""
    key = getkey()
    cases = [
        (lambda: GridNoise(key, (2,), 0.0, 1.0, 0), "`n` must be at least 1"),
        (lambda: GridNoise(key, (2,), 1.0, 1.0, 4), "times must increase"),
        (lambda: GridNoise.at(key, (2,), jnp.asarray([0.0, 1.0, 0.5])), "times must increase"),
        (lambda: DyadicNoise(key, (2,), 0.0, 1.0, 31), "`levels` must be from 0 to 30"),
        (lambda: DyadicNoise(key, (2,), 0.0, 1.0, 3, block=-1), "`block` must be at least 0"),
        (lambda: DyadicNoise(key, (2,), 1.0, 0.0, 3), "`t0` must be before `t1`"),
        (lambda: VirtualBrownianTree(key, (2,), 1.0, 0.0, 0.1), "`t0` must be before `t1`"),
        (lambda: VirtualBrownianTree(key, (2,), 0.0, 1.0, 0.0), "`tol` must be positive"),
    ]
    for call, says in cases:
        with pytest.raises(ValueError, match=says):
            call()


def test_all_are_diffrax_paths(getkey):
    """Instances of Diffrax's abstract Brownian path, with the Levy area that they have."""
    for name, make in NOISES.items():
        noise = make(getkey(), (2,))
        assert isinstance(noise, dfx.AbstractBrownianPath)
        has_area = noise.levy_area is dfx.SpaceTimeLevyArea
        assert has_area == (name == "dyadic with area")
