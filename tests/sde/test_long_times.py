"""Far from 0, over long times, on deep trees: where rounding and instability show."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sde.sde_problems import GBM
from tenfold import sde
from tenfold.base import RESULTS, raise_if_bad
from tenfold.sde._solve import _check_ways


def ornstein_uhlenbeck():
    """dz = -z dt + 0.3 dW: its stationary standard deviation is 0.3 / sqrt 2."""
    spread = lambda t, z, args: jnp.full_like(z, 0.3)  # noqa: E731
    return sde.SDE(lambda t, z, args: -z, spread, noise="diagonal", kind="ito")


@pytest.mark.parametrize(
    ("method", "times", "stable"),
    [
        (sde.Heun(), 2, True),
        (sde.ReversibleHeun(), 21, True),
        (sde.ReversibleHeun(), 2, False),
        (sde.ReversibleHeun(restart=False), 21, False),
    ],
    ids=["heun", "restarted", "one interval", "as published"],
)
def test_the_stationary_spread_is_kept_over_long_times(method, times, stable, getkey, x64):
    """But by reversible Heun over one long interval, whose states part like exp(T): and it says so.

    h = 0.1 is off by 5 % at most; the standard error of a standard deviation of 4,000 is 1.1 %.
    """
    ts, z0 = jnp.linspace(0, 20, times), jnp.zeros((4000, 1))
    solve = jax.jit(
        lambda key: sde.sdesolve(
            ornstein_uhlenbeck(), z0, ts, key, substeps=200 // (times - 1), method=method
        )
    )
    solution = solve(getkey())
    spread = jnp.std(solution.zs[-1])
    assert (abs(spread / (0.3 / 2**0.5) - 1) < 0.05 + 5 * 0.011) == stable
    assert bool(solution.result == RESULTS.successful) == stable
    assert bool(solution.result == RESULTS.unstable) != stable
    if not stable:
        with pytest.raises(RuntimeError, match="The scheme is unstable here"):
            raise_if_bad(solution.result)


def test_a_single_path_that_comes_back_to_its_start_is_not_called_unstable(getkey, x64):
    """At some of 2,000 times z is nearer to z0 than the scheme's states are to each other."""
    ts, z0 = jnp.linspace(0, 200, 2001), jnp.zeros(1)
    solution = jax.jit(lambda key: sde.sdesolve(ornstein_uhlenbeck(), z0, ts, key))(getkey())
    assert np.abs(solution.zs[1:]).min() < 1e-3
    assert solution.result == RESULTS.successful


def test_a_restart_at_every_step_is_heun(getkey, x64):
    """y = z: a step of reversible Heun is then the trapezium."""
    ts, z0, key = jnp.linspace(0, 1, 9), jnp.ones((5, 2)), getkey()
    solve = lambda method: sde.sdesolve(GBM.sde(), z0, ts, key, method=method).zs  # noqa: E731
    heun = solve(sde.Heun())
    np.testing.assert_allclose(solve(sde.ReversibleHeun()), heun, rtol=1e-12)
    assert np.abs(solve(sde.ReversibleHeun(restart=False)) - heun).max() > 1e-3


@pytest.mark.parametrize(("t0", "t1", "n"), [(500.0, 501.0, 100), (0.0, 1.0, 10_000)])
def test_a_noise_serves_its_own_grid_in_float32(getkey, t0, t1, n):
    """Its times and those of the solve are computed in two ways, and differ by rounding."""
    noise = sde.GridNoise(getkey(), (1,), t0, t1, n, dtype=jnp.float32)
    ts = jnp.asarray([t0, t1], jnp.float32)
    z0 = jnp.zeros(1, jnp.float32)
    solve = lambda ts: sde.sdesolve(  # noqa: E731
        ornstein_uhlenbeck(), z0, ts, noise, substeps=n, method=sde.Heun()
    ).zs[-1]
    np.testing.assert_allclose(solve(ts), jax.jit(solve)(ts), rtol=1e-4)
    assert np.isfinite(solve(ts)).all()


@pytest.mark.parametrize("levels", [20, 25, 30])
def test_a_deep_tree_ends_where_its_increments_sum_to(getkey, levels):
    """2^levels - 1 is no float32 from 25 levels on."""
    noise = sde.DyadicNoise(getkey(), (3,), 0.0, 1.0, levels, dtype=jnp.float32)
    whole = jax.jit(lambda: noise.value(1.0))()
    np.testing.assert_allclose(whole, noise.increment(0, 0).w, atol=1e-3)


def test_names_and_classes_in_the_place_of_objects_are_refused():
    path = dfx.VirtualBrownianTree(0.0, 1.0, 1e-3, (1,), jax.random.key(0))
    for given, match in (
        (("heun", None, None), "`method` must be an object such as"),
        ((sde.Heun, None, None), "`method` must be"),
        ((None, "exact", None), "`gradient` must be"),
        ((None, None, path), "DiffraxNoise"),
    ):
        with pytest.raises(ValueError, match=match):
            _check_ways(*given)
