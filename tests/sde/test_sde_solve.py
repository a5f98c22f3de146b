"""`sdesolve`: batches, times, context, cost, and what it says about a solve that went wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close
from sde.gradient_problems import SUBSTEPS, TS, path, solved, trained
from sde.sde_problems import GBM, SCALAR, Scaled, gbm_exact
from tenfold import sde
from tenfold.base import RESULTS


def test_a_batch_is_its_examples_one_by_one(x64):
    """Leading axes share weights; each example has its own part of the motion."""
    p = trained("general", "ito")
    noise, together = path(p), solved(p)
    for i in range(2):
        own = sde.RecordedNoise(noise.times, noise.w[:, i])
        alone = solved({**p, "z0": p["z0"][i]}, noise=own)
        assert_close(alone.zs, together.zs[:, i])
        assert_close(alone.cost, together.cost[i])


def test_a_solve_may_be_vmapped_over_keys_and_starts(x64):
    equation, ts = GBM.sde(), jnp.array([0.0, 0.5, 1.0])
    keys, starts = jax.random.split(jax.random.key(0), 3), jnp.array([[1.0], [2.0], [3.0]])

    def one(z0, key):
        return sde.sdesolve(equation, z0, ts, key, substeps=4).zs

    expected = jnp.stack([one(z, k) for z, k in zip(starts, keys, strict=True)])
    assert_close(jax.vmap(one)(starts, keys), expected, 1e-14)


def test_one_path_is_seen_by_every_number_of_steps(x64):
    """GridNoise: coarser solves of geometric Brownian motion approach its closed form."""
    equation, z0 = GBM.sde(), jnp.array([1.5])
    noise = sde.GridNoise(jax.random.key(1), (1,), 0.0, 1.0, 256, dtype=z0.dtype)
    exact = gbm_exact(equation, z0, 1.0, noise.evaluate(1.0), None)
    ts = jnp.array([0.0, 1.0])
    errors = [
        float(jnp.abs(sde.sdesolve(equation, z0, ts, noise, substeps=n).zs[-1] - exact)[0])
        for n in (4, 32, 256)
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 1e-3


def test_states_at_times_on_the_way_are_those_of_one_long_solve(x64):
    """What is saved in between changes nothing (same steps, same noise)."""
    equation, z0 = SCALAR.sde(), SCALAR.start()
    noise = sde.GridNoise(jax.random.key(1), (), 0.0, 1.0, 8, dtype=z0.dtype)
    method = sde.ReversibleHeun(restart=False)
    every = sde.sdesolve(equation, z0, jnp.linspace(0, 1, 9), noise, method=method)
    ends = sde.sdesolve(equation, z0, jnp.array([0.0, 1.0]), noise, substeps=8, method=method)
    np.testing.assert_array_equal(every.zs[0], z0)
    assert_close(every.zs[-1], ends.zs[-1], 1e-14)
    assert int(every.stats["steps"]) == int(ends.stats["steps"]) == 8


@pytest.mark.parametrize("method", [sde.Heun(), sde.Milstein()])
def test_context_is_what_holds_between_two_times(method, x64):
    """The same as solving each interval by itself, with its own args."""
    p = trained("diagonal", "ito")
    noise, together, z = path(p), solved(p, method=method), p["z0"]
    for k in range(len(TS) - 1):
        first = k * SUBSTEPS
        times = noise.times[first : first + SUBSTEPS + 1]
        own = sde.RecordedNoise(times, noise.w[first : first + SUBSTEPS])
        options = {"method": method, "substeps": SUBSTEPS, "args": (p["args"], p["context"][k])}
        z = sde.sdesolve(p["sde"], z, times[jnp.array([0, -1])], own, **options).zs[-1]
        assert_close(z, together.zs[k + 1])


def test_context_that_does_not_change_is_as_good_as_args(x64):
    """For reversible Heun, which carries an evaluation from one interval to the next."""
    p = trained("diagonal", "ito")
    same = jnp.broadcast_to(p["context"][0], p["context"].shape)
    with_context = solved({**p, "context": same})
    without = solved({**p, "context": None, "args": (p["args"], same[0])})
    assert_close((with_context.zs, with_context.cost), (without.zs, without.cost), 1e-13)


def test_the_cost_of_a_constant_rate_is_the_time():
    equation = GBM.sde()

    def rate(t, z, f, g, args):
        return jnp.full(z.shape[:-1], 2.0)

    ts = jnp.array([0.5, 0.75, 2.0])
    solution = sde.sdesolve(
        equation, jnp.ones((3, 1)), ts, jax.random.key(0), substeps=5, path_cost=rate
    )
    np.testing.assert_allclose(solution.cost, 3.0, rtol=1e-6)


def test_drift_and_diffusion_reach_the_cost_as_their_user_wrote_them():
    """Not corrected for the calculus of the scheme."""
    equation = GBM.sde()

    def rate(t, z, f, g, args):
        return jnp.sum(jnp.abs(f - 0.1 * z) + jnp.abs(g - 0.3 * z), axis=-1)

    ts = jnp.array([0.0, 1.0])
    for method in (sde.ReversibleHeun(), sde.EulerMaruyama(), sde.Milstein()):
        solution = sde.sdesolve(
            equation, jnp.ones(1), ts, jax.random.key(0), method=method, path_cost=rate
        )
        np.testing.assert_allclose(solution.cost, 0.0, atol=1e-6)


def test_a_solve_that_blows_up_says_so():
    """nan stays visible: the result is `nonfinite`."""
    equation = sde.SDE(lambda t, z, a: z**3, Scaled(jnp.float32(0.1)), noise="diagonal", kind="ito")
    ts = jnp.array([0.0, 10.0])
    bad = sde.sdesolve(equation, jnp.full((1,), 5.0), ts, jax.random.key(0), substeps=20)
    fine = sde.sdesolve(equation, jnp.zeros(1), ts, jax.random.key(0), substeps=20)
    assert bad.result == RESULTS.nonfinite
    assert fine.result == RESULTS.successful


def test_traced_times_that_do_not_increase_give_nan():
    """They can't be looked at while tracing, and must not pass for a result."""

    def end(ts):
        return sde.sdesolve(GBM.sde(), jnp.ones(1), ts, jax.random.key(0)).zs

    assert np.all(np.isfinite(jax.jit(end)(jnp.array([0.0, 1.0]))))
    assert np.all(np.isnan(jax.jit(end)(jnp.array([1.0, 0.0]))[1:]))
