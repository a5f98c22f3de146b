"""Adaptive steps: errors follow the tolerance, on one path, and so do gradients."""

from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sde_problems import GBM

from helpers import assert_close
from tenfold import sde
from tenfold.base import RESULTS, raise_if_bad
from tenfold.sde import (
    SDE,
    Adaptive,
    DyadicNoise,
    GridNoise,
    VirtualBrownianTree,
    sdesolve,
)
from tenfold.sde._methods import AbstractStateless

TS = np.asarray([0.0, 0.3, 1.0])
NOISES = {
    "dyadic": lambda key, shape: DyadicNoise(key, shape, 0.0, 1.0, 18, area=True),
    "tree": lambda key, shape: VirtualBrownianTree(key, shape, 0.0, 1.0, 1e-5),
}
METHODS = [sde.Milstein(), sde.Heun(), sde.ReversibleHeun(), sde.SRK()]


def exact(noise, z0):
    """The closed form along the path, at each of `TS`."""
    ts = jnp.asarray(TS)
    w = jax.vmap(noise.value)(ts)
    return jax.vmap(lambda t, w: GBM.exact(GBM.sde(), z0, t, w, None))(ts, w)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_errors_fall_with_the_tolerance(method, getkey, x64):
    """On one path of geometric Brownian motion, at every one of `ts`, with few rejections."""
    noise, z0 = NOISES["dyadic"](getkey(), (8, 1)), GBM.start(8)

    @partial(jax.jit, static_argnums=0)
    def run(tolerance):
        steps = Adaptive(tolerance, tolerance)
        solved = sdesolve(GBM.sde(), z0, TS, noise, method=method, steps=steps)
        return solved.stats, jnp.sqrt(jnp.mean((solved.zs - exact(noise, z0)) ** 2, axis=(1, 2)))

    (few, coarse), (many, fine) = run(1e-2), run(1e-5)
    assert (fine[1:] < 0.2 * coarse[1:]).all()
    assert few["steps"] < many["steps"]
    assert many["rejected"] < many["steps"]


def test_a_virtual_tree_serves_it_too(getkey, x64):
    """Differences of its values, at times that nobody knew before: same closed form."""
    noise, z0 = NOISES["tree"](getkey(), (4, 1)), GBM.start(4)
    steps = Adaptive(1e-5, 1e-5)
    run = jax.jit(lambda: sdesolve(GBM.sde(), z0, TS, noise, method=sde.Milstein(), steps=steps))
    assert_close(run().zs, exact(noise, z0), 2e-3)


def test_times_and_counts_are_told(getkey, x64):
    """`ts` come back, z0 is the first state, all tries are counted, the result is successful."""
    noise, z0 = NOISES["dyadic"](getkey(), (1,)), GBM.start()
    steps = Adaptive(1e-3, 1e-3, dt0=1.0)
    solved = eqx.filter_jit(lambda: sdesolve(GBM.sde(), z0, TS, noise, steps=steps))()
    raise_if_bad(solved.result)
    np.testing.assert_array_equal(solved.ts, TS)
    np.testing.assert_array_equal(solved.zs[0], z0)
    assert solved.stats["rejected"] >= 1  # the first step tried was the whole interval
    assert solved.stats["steps"] >= 2


class Unchecked(AbstractStateless):
    """Euler-Maruyama, claiming strong order 1."""

    orders: ClassVar = {"diagonal": 1.0}
    needs_area: ClassVar = False

    def calculus(self, sde):
        return "ito"

    def step(self, *args):
        return sde.EulerMaruyama().step(*args)


def test_euler_maruyama_would_converge_to_a_wrong_limit(getkey, x64):
    """dz = z dW with a step size for each path: a hundredth of the tolerance leaves the error where
    it was, and every path ends too high. Milstein's error falls. Hence the refusal."""
    problem = SDE(lambda t, z, a: 0 * z, lambda t, z, a: z, noise="diagonal", kind="ito")
    keys = jax.random.split(getkey(), 64)

    @partial(jax.jit, static_argnums=(0, 1))
    def errors(method, tolerance):
        def one(key):
            noise = DyadicNoise(key, (1,), 0.0, 1.0, 14)
            steps = Adaptive(tolerance, tolerance)
            solved = sdesolve(problem, jnp.ones(1), TS[::2], noise, method=method, steps=steps)
            return solved.zs[-1, 0] - jnp.exp(noise.value(1.0)[0] - 0.5)

        return jax.vmap(one)(keys)

    wrong = [errors(Unchecked(), tolerance) for tolerance in (1e-1, 1e-3)]
    assert jnp.mean(jnp.abs(wrong[1])) > 0.7 * jnp.mean(jnp.abs(wrong[0]))
    assert jnp.mean(wrong[1]) > 0.9 * jnp.mean(jnp.abs(wrong[1]))
    right = [errors(sde.Milstein(), tolerance) for tolerance in (1e-1, 1e-3)]
    assert jnp.mean(jnp.abs(right[1])) < 0.4 * jnp.mean(jnp.abs(right[0]))


def test_a_batch_shares_its_steps_and_keys_may_be_vmapped(getkey, x64):
    """The worst example sets the step; solves of their own by vmap take their own steps."""
    keys = jax.random.split(getkey(), 3)
    steps, z0 = Adaptive(1e-3, 1e-3), jnp.asarray([[1.0], [1.5], [2.0]])

    @jax.jit
    @jax.vmap
    def apart(key, z0):
        solved = sdesolve(GBM.sde(), z0, TS, DyadicNoise(key, (1,), 0.0, 1.0, 16), steps=steps)
        return solved.zs, solved.stats["steps"], solved.result

    zs, taken, result = apart(keys, z0)
    raise_if_bad(result)
    assert len(set(np.asarray(taken).tolist())) > 1
    alone = jax.jit(
        lambda: (
            sdesolve(GBM.sde(), z0[1], TS, DyadicNoise(keys[1], (1,), 0.0, 1.0, 16), steps=steps).zs
        )
    )()
    assert_close(zs[1], alone, 1e-12)


def test_too_few_steps_are_told_and_leave_nan(getkey, x64):
    """`max_steps_reached`; what was reached stays, the rest and the gradient are nan."""
    noise, z0 = NOISES["dyadic"](getkey(), (1,)), GBM.start()

    def solve(z0):
        return sdesolve(
            GBM.sde(),
            z0,
            TS,
            noise,
            steps=Adaptive(1e-7, 1e-7, max_steps=20),
            path_cost=lambda t, z, f, g, args: z[..., 0],
        )

    solved = eqx.filter_jit(solve)(z0)
    assert solved.result == RESULTS.max_steps_reached
    assert solved.stats["steps"] + solved.stats["rejected"] == 20
    assert np.isfinite(solved.zs[0]).all()
    assert np.isnan(solved.zs[1:]).all()
    assert np.isnan(solved.cost)
    slope = jax.jit(jax.grad(lambda z0: jnp.sum(solve(z0).zs[0])))(z0)
    assert np.isnan(slope).all()


def test_a_noise_too_coarse_for_the_tolerance_is_told(getkey, x64):
    """Below the leaves the path is smooth: `dt_min_reached`, not a solution of another equation."""
    noise = DyadicNoise(getkey(), (1,), 0.0, 1.0, 5)
    run = eqx.filter_jit(
        lambda: sdesolve(GBM.sde(), GBM.start(), TS, noise, steps=Adaptive(1e-6, 1e-6))
    )
    assert run().result == RESULTS.dt_min_reached


def test_fields_that_blow_up_are_told(getkey, x64):
    """A drift that is nan from z = 1.6 on: `nonfinite`."""
    noise = DyadicNoise(getkey(), (1,), 0.0, 1.0, 8)
    bad = SDE(
        lambda t, z, a: jnp.where(z < 1.6, 2 * z, jnp.nan),
        lambda t, z, a: 0.1 * z,
        noise="diagonal",
        kind="ito",
    )
    run = eqx.filter_jit(lambda: sdesolve(bad, GBM.start(), TS, noise, steps=Adaptive(1e-2, 1e-2)))
    assert run().result == RESULTS.nonfinite


def test_a_key_stands_for_a_noise_fine_enough(getkey, x64):
    """The same key, the same path, whatever the tolerance; also with time integrals."""
    key, z0 = getkey(), GBM.start(4)
    ends = [
        eqx.filter_jit(
            lambda t=t: sdesolve(GBM.sde(), z0, TS, key, method=sde.SRK(), steps=Adaptive(t, t)).zs[
                -1
            ]
        )()
        for t in (1e-4, 1e-6)
    ]
    assert_close(ends[0], ends[1], 2e-3)


class Coupled(eqx.Module):
    """A diffusion that knows its own derivative, since its entries see each other."""

    def __call__(self, t, z, args):
        return z * jnp.sum(z)

    def value_and_jacobian_diagonal(self, t, z, args):
        return self(t, z, args), z + jnp.sum(z)


def test_what_does_not_fit_is_refused(getkey):
    """Schemes of order 1/2, noises on a grid, other gradients, substeps, wrong numbers."""
    key, ts, steps = getkey(), jnp.asarray([0.0, 1.0]), Adaptive(1e-2, 1e-2)
    noise = DyadicNoise(key, (1,), 0.0, 1.0, 8)
    problem = SDE(lambda t, z, a: -z, lambda t, z, a: z, noise="diagonal", kind="ito")
    full = SDE(lambda t, z, a: -z, lambda t, z, a: z[..., None], noise="general", kind="ito")
    coupled = SDE(lambda t, z, a: -z, Coupled(), noise="diagonal", kind="ito")
    z0 = jnp.ones(1)
    cases = [
        (
            lambda: sdesolve(problem, z0, ts, noise, method=sde.EulerMaruyama(), steps=steps),
            "EulerMaruyama has strong order 0.5 with diagonal noise; adaptive steps need order 1",
        ),
        (lambda: sdesolve(full, z0, ts, noise, steps=steps), "order 0.5 with general noise"),
        (lambda: sdesolve(coupled, z0, ts, noise, steps=steps), "entries may depend on each other"),
        (
            lambda: sdesolve(problem, z0, ts, GridNoise(key, (1,), 0.0, 1.0, 8), steps=steps),
            "GridNoise knows it on its grid only; use DyadicNoise",
        ),
        (
            lambda: sdesolve(problem, z0, ts, noise, steps=steps, gradient=sde.Exact()),
            r"differentiated by Backsolve\(\), not Exact",
        ),
        (lambda: sdesolve(problem, z0, ts, noise, steps=steps, substeps=2), "chooses substeps"),
        (lambda: sdesolve(problem, z0, 2 * ts, noise, steps=steps), "lie outside those of the"),
        (lambda: Adaptive(0.0, 0.0), "rtol, atol >= 0, not both 0"),
        (lambda: Adaptive(-1.0, 1.0), "rtol, atol >= 0"),
        (lambda: Adaptive(1e-2, 1e-2, dt0=0.0), "dt0 > 0"),
        (lambda: Adaptive(1e-2, 1e-2, max_steps=0), "max_steps >= 1"),
        (lambda: Adaptive(1e-2, 1e-2, safety=1.0), "safety"),
        (lambda: Adaptive(1e-2, 1e-2, grow=1.0), "shrink < 1 < grow"),
    ]
    for call, says in cases:
        with pytest.raises(ValueError, match=says):
            call()


def test_additive_noise_lets_euler_maruyama_in(getkey, x64):
    """There its order is 1: it is taken, and its error falls with the tolerance."""
    noise = DyadicNoise(getkey(), (2,), 0.0, 1.0, 14)
    pull = SDE(lambda t, z, a: -z, lambda t, z, a: jnp.eye(2), noise="additive", kind="ito")
    z0, ts = jnp.asarray([1.0, -1.0]), TS[::2]
    fine = jax.jit(
        lambda: sdesolve(pull, z0, ts, noise, method=sde.Heun(), substeps=2**12).zs[-1]
    )()
    errors = []
    for tolerance in (1e-2, 1e-4):
        steps = Adaptive(tolerance, tolerance)
        run = eqx.filter_jit(
            lambda s=steps: sdesolve(pull, z0, ts, noise, method=sde.EulerMaruyama(), steps=s)
        )
        errors.append(float(jnp.max(jnp.abs(run().zs[-1] - fine))))
    assert errors[1] < 0.3 * errors[0]
