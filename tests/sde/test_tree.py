"""The paper's virtual Brownian tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sde_problems import GBM

from helpers import assert_close
from tenfold import sde
from tenfold.sde import VirtualBrownianTree, sdesolve
from tenfold.sde._grid import refined


def by_recursion(key, t0, t1, tol, t):
    """The paper's algorithm 3 on the host, as it is written down: recursive bisection."""
    root, key = jax.random.split(key)

    def value(s, e, ws, we, key):
        if e - s <= tol:
            return ws + (t - s) / (e - s) * (we - ws)
        here, left, right = jax.random.split(key, 3)
        m = (s + e) / 2
        wm = (ws + we) / 2 + np.sqrt((e - s) / 4) * np.asarray(jax.random.normal(here, (2,)))
        return value(s, m, ws, wm, left) if t < m else value(m, e, wm, we, right)

    end = np.sqrt(t1 - t0) * np.asarray(jax.random.normal(root, (2,)))
    return value(t0, t1, np.zeros(2), end, key)


def test_values_are_those_of_the_recursive_algorithm(getkey, x64):
    """Ten descents against plain Python."""
    key = getkey()
    tree = VirtualBrownianTree(key, (2,), -0.5, 1.5, 0.01)
    times = np.random.default_rng(1).uniform(-0.5, 1.5, 10)
    got = jax.jit(jax.vmap(tree.value))(jnp.asarray(times))
    for w, t in zip(got, times):
        assert_close(np.asarray(w), by_recursion(key, -0.5, 1.5, 0.01, t), 1e-14)


def test_a_finer_tolerance_refines_the_same_path(getkey, x64):
    """At the points that both trees reach the values agree; between them only the finer bends."""
    key = getkey()
    coarse, fine = (VirtualBrownianTree(key, (3,), 0.0, 1.0, tol) for tol in (1 / 16, 1 / 256))
    shared, middles = jnp.linspace(0, 1, 17), jnp.linspace(1 / 32, 31 / 32, 16)
    values = jax.jit(lambda t: (jax.vmap(coarse.value)(t), jax.vmap(fine.value)(t)))
    assert_close(*values(shared), 1e-14)
    low, high = values(middles)
    ends = values(shared)[0]
    assert_close(low, 0.5 * (ends[1:] + ends[:-1]), 1e-14)
    assert float(jnp.min(jnp.abs(high - low))) > 1e-6


def test_a_tolerance_below_the_floats_ends(getkey):
    """In float32 at t = 1000 the descent stops where no float lies between, and is finite."""
    tree = VirtualBrownianTree(getkey(), (2,), 1000.0, 1001.0, 1e-12)
    assert np.isfinite(tree.value(jnp.float32(1000.3))).all()


def test_a_time_a_rounding_past_the_end_is_the_end(getkey):
    """500.00003 on an interval that ends at 500, the next float32, is no error and no nan."""
    tree = VirtualBrownianTree(getkey(), (2,), 0.0, 500.0, 0.1)
    past = np.nextafter(np.float32(500), np.float32(501))
    np.testing.assert_array_equal(tree.value(past), tree.value(500.0))


def test_exact_and_stored_gradients_agree_on_an_uneven_grid(getkey, x64):
    """The backward pass asks again, in the other order, and finds the same path."""
    tree = VirtualBrownianTree(getkey(), (4, 1), 0.0, 1.0, 1e-3)
    ts, problem = jnp.asarray([0.0, 0.13, 0.5, 0.81, 1.0]), GBM.sde()

    def loss(z0, gradient):
        return jnp.sum(sdesolve(problem, z0, ts, tree, substeps=3, gradient=gradient).zs ** 2)

    slopes = [
        jax.jit(jax.grad(lambda z, g=g: loss(z, g)))(GBM.start(4))
        for g in (sde.Exact(), sde.Store(), sde.Checkpoint(5))
    ]
    assert_close(slopes[0], slopes[1], 1e-12)
    assert_close(slopes[2], slopes[1], 1e-12)


def test_what_it_can_not_serve_is_refused(getkey):
    """Time integrals, and times outside its interval."""
    tree = VirtualBrownianTree(getkey(), (1,), 0.0, 1.0, 1e-3)
    with pytest.raises(ValueError, match="no time integrals"):
        sdesolve(GBM.sde(), jnp.ones(1), jnp.asarray([0.0, 1.0]), tree, method=sde.SRK())
    with pytest.raises(ValueError, match="lie outside those of the noise"):
        tree.on(refined(jnp.asarray([0.0, 1.5]), 1, tree.dtype), area=False)
