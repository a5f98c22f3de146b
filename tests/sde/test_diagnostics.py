"""Orders as the library measures them, the drift of rebuilt states, and recorded increments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close
from sde.gradient_problems import relative_error
from sde.sde_problems import GBM, OU
from tenfold import sde


def test_the_slope_is_that_of_a_power_law():
    h = jnp.array([1.0, 0.5, 0.1])
    np.testing.assert_allclose(sde.Order(h, 3 * h**1.5).slope, 1.5, rtol=1e-6)


def test_a_finer_solve_stands_for_a_closed_form(x64):
    """Both references see the same errors, but for a few percent."""
    options = {"method": sde.Milstein(), "ns": (8, 16), "paths": 200, "key": jax.random.key(0)}
    closed = sde.strong_order(GBM.sde(), GBM.start(), exact=GBM.exact, **options)
    finer = sde.strong_order(GBM.sde(), GBM.start(), finer=64, **options)
    np.testing.assert_allclose(finer.errors, closed.errors, rtol=0.3)
    np.testing.assert_allclose(closed.steps, [1 / 8, 1 / 16])


def test_the_error_is_the_root_mean_square_over_paths(x64):
    """By brute force, path by path."""
    z0, key, paths, n = GBM.start(), jax.random.key(5), 3, 4
    found = sde.strong_order(
        GBM.sde(), z0, method=sde.Heun(), exact=GBM.exact, ns=(n,), paths=paths, key=key
    )
    squares = []
    for i in range(paths):
        own = sde.GridNoise(jax.random.fold_in(key, i), (1,), 0.0, 1.0, n, dtype=z0.dtype)
        ts = jnp.array([0.0, 1.0])
        z = sde.sdesolve(GBM.sde(), z0, ts, own, method=sde.Heun(), substeps=n).zs[-1]
        exact = GBM.exact(GBM.sde(), z0, 1.0, own.evaluate(1.0), None)
        squares.append(float(jnp.sum((z - exact) ** 2)))
    np.testing.assert_allclose(found.errors, [np.sqrt(np.mean(squares))], rtol=1e-12)


def test_the_gradient_of_args_counts_too(x64):
    """A parameter in `args`: its error is in the norm."""

    def exact(equation, z0, t, w, args):
        return GBM.exact(equation, z0, t, w, None) * args

    scaled = sde.SDE(
        lambda t, z, a: 0.1 * z, lambda t, z, a: 0.3 * z * a, noise="diagonal", kind="ito"
    )
    options = {"method": sde.Heun(), "ns": (8,), "paths": 5, "key": jax.random.key(0), "finer": 8}
    none = sde.gradient_order(scaled, GBM.start(), args=1.0, **options)
    some = sde.gradient_order(scaled, GBM.start(), args=jnp.asarray(1.0), **options)
    assert float(some.errors[0]) > float(none.errors[0]) > 0


def contracting(rate, dtype):
    """Forward it contracts, so backward it expands, and rounding with it."""
    return sde.SDE(
        lambda t, z, args: -jnp.asarray(rate, dtype) * jnp.sin(z),
        lambda t, z, args: 0.1 + 0 * z,
        noise="diagonal",
        kind="stratonovich",
    )


TS = (0.0, 1.0, 2.0, 4.0)


@pytest.mark.parametrize(("rate", "restart"), [(0.1, False), (10.0, False), (10.0, True)])
def test_rebuilt_states_drift_backwards_where_the_flow_contracts(rate, restart):
    """float32: rounding stays what it was for a slow drift, and grows for a fast one: from the
    end, or, where the scheme starts anew, from the end of the interval (the last one is longer).
    """
    gap = sde.reconstruction_error(
        contracting(rate, jnp.float32),
        jnp.ones((3, 2)),
        jnp.array(TS),
        jax.random.key(0),
        substeps=40,
        restart=restart,
    )
    assert gap.shape == (4,)
    assert float(gap[-1]) == 0
    if rate < 1:
        assert float(gap[0]) < 1e-5
    elif restart:
        assert 1e-5 < float(gap[0]) < float(gap[2])
    else:
        assert float(gap[0]) > 1e-3
        assert float(gap[0]) > float(gap[2])


def test_kept_states_remove_the_drift_and_the_error_of_the_gradient():
    """Against the stored gradient in float32: 7 % off without, below 0.1 % with z and y kept."""
    equation, z0, ts = contracting(5.0, jnp.float32), jnp.ones((3, 2)), jnp.array(TS)
    method = sde.ReversibleHeun(restart=False)

    def gradient(way):
        def end(z0):
            solution = sde.sdesolve(
                equation, z0, ts, jax.random.key(0), substeps=160, gradient=way, method=method
            )
            return jnp.sum(solution.zs)

        return jax.jit(jax.grad(end))(z0)

    stored = gradient(sde.Store())
    assert relative_error(gradient(sde.Exact()), stored) > 1e-2
    assert relative_error(gradient(sde.Exact(anchor_every=40)), stored) < 1e-3
    gap = sde.reconstruction_error(
        equation, z0, ts, jax.random.key(0), substeps=160, anchor_every=40, restart=False
    )
    assert float(jnp.max(gap)) < 1e-5


@pytest.mark.parametrize("method", [sde.Heun(), sde.SRK()])
def test_recorded_increments_are_the_path_that_was_recorded(method, x64):
    """At its own steps and at steps of four: as the noise that it was taken from."""
    noise = sde.GridNoise(jax.random.key(0), (3,), 0.0, 1.0, 8, dtype=jnp.float64)
    steps = jax.vmap(lambda i: noise.increment(i, area=True))(jnp.arange(8))
    recorded = sde.RecordedNoise(noise.times, steps.w, area=steps.area)
    for n in (8, 2):
        options = {"method": method, "substeps": n}
        ts = jnp.array([0.0, 1.0])
        drawn, given = (
            sde.sdesolve(OU.sde(), OU.start(), ts, path, **options).zs for path in (noise, recorded)
        )
        assert_close(given, drawn, 1e-14)
    for t in (0.0, 0.375, 1.0):
        assert_close(recorded.evaluate(t), noise.evaluate(t), 1e-14)
    assert_close(recorded.evaluate(0.25, 0.5), noise.evaluate(0.25, 0.5), 1e-14)
    assert np.all(np.isnan(recorded.evaluate(0.3)))
