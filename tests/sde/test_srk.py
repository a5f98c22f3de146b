"""Strong order 1.5 of `SRK`, for the noises and calculi that it takes."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sde_problems import GBM

from helpers import assert_close
from tenfold import sde
from tenfold.sde import SDE, SRK, DyadicNoise, GridNoise, sdesolve

LEVELS, PATHS = 11, 300


def drift(t, z, args):
    """Nonlinear, and it couples the two entries."""
    return 0.5 * jnp.sin(3 * z) - 0.5 * z[..., ::-1] * jnp.cos(t)


def diagonal(t, z, args):
    """A constant, and a part that depends on the state and on time."""
    return 0.4 + 0.3 * jnp.sin(2 * z + t)


def scalar(t, z, args):
    """One Brownian motion for a nonlinear rotation."""
    x, y = z[..., 0], z[..., 1]
    return jnp.stack([jnp.sin(y + 1), 0.3 + jnp.cos(x)], axis=-1)


def additive(t, z, args):
    """A full matrix that changes with time."""
    g = jnp.asarray([[1.0, 0.4], [-0.6, 0.8]]) * (1 + 0.5 * jnp.sin(t))
    return jnp.broadcast_to(g, (*z.shape, 2))


CASES = {
    (noise, kind): (g, shape)
    for noise, g, shape in [
        ("diagonal", diagonal, (PATHS, 2)),
        ("scalar", scalar, (PATHS,)),
        ("additive", additive, (PATHS, 2)),
    ]
    for kind in ("ito", "stratonovich")
}


def ends(problem, noise, method, ns):
    """z(1) with each number of steps, on one path."""
    z0, ts = jnp.ones((PATHS, 2)) * jnp.asarray([[0.7, -0.4]]), jnp.asarray([0.0, 1.0])

    @partial(jax.jit, static_argnums=0)
    def end(n):
        solved = sdesolve(problem, z0, ts, noise, method=method, substeps=n, gradient=sde.Store())
        return solved.zs[-1]

    return [end(n) for n in ns]


@pytest.mark.parametrize(("noise", "kind"), CASES)
def test_strong_order_is_three_halves(noise, kind, getkey, x64):
    """The fitted slope of the root mean square error, 16 to 256 steps, against 2048 of them."""
    g, shape = CASES[noise, kind]
    problem = SDE(drift, g, noise=noise, kind=kind)
    path, ns = DyadicNoise(getkey(), shape, 0.0, 1.0, LEVELS, area=True), (16, 64, 256)
    *coarse, fine = ends(problem, path, SRK(), (*ns, 2**LEVELS))
    errors = [float(jnp.sqrt(jnp.mean((end - fine) ** 2))) for end in coarse]
    slope = -np.polyfit(np.log(ns), np.log(errors), 1)[0]
    assert abs(slope - 1.5) < 0.15, f"slope {slope:.3f}, errors {errors}"


def test_the_limit_is_the_solution(getkey, x64):
    """On geometric Brownian motion, against the closed form and against Milstein's scheme."""
    noise = DyadicNoise(getkey(), (PATHS, 1), 0.0, 1.0, 8, area=True)
    problem, z0 = GBM.sde(), GBM.start(PATHS)
    exact = GBM.exact(problem, z0, 1.0, noise.value(1.0), None)

    @eqx.filter_jit
    def error(method):
        end = sdesolve(problem, z0, jnp.asarray([0.0, 1.0]), noise, method=method, substeps=256)
        return jnp.sqrt(jnp.mean((end.zs[-1] - exact) ** 2))

    assert error(SRK()) < 1e-5
    assert error(SRK()) < 0.02 * error(sde.Milstein())


def test_a_grid_noise_serves_it_too(getkey, x64):
    """Its time integrals add up over four steps in one, so 64 coarse steps near the solution."""
    noise = GridNoise(getkey(), (PATHS, 1), 0.0, 1.0, 256)
    problem, z0 = GBM.sde(), GBM.start(PATHS)

    @partial(jax.jit, static_argnums=0)
    def error(n):
        end = sdesolve(problem, z0, jnp.asarray([0.0, 1.0]), noise, method=SRK(), substeps=n)
        exact = GBM.exact(problem, z0, 1.0, noise.evaluate(1.0), None)
        return jnp.sqrt(jnp.mean((end.zs[-1] - exact) ** 2))

    assert error(64) < 5e-5
    assert error(256) < 0.25 * error(64)


def test_its_cost_has_order_two_along_a_smooth_path(getkey, x64):
    """Without noise the integral of z^2 along dz = z dt is the scheme's Ralston rule."""
    flat = SDE(lambda t, z, a: z, lambda t, z, a: 0 * z, noise="diagonal", kind="ito")
    noise = DyadicNoise(getkey(), (1,), 0.0, 1.0, 6, area=True)

    @partial(jax.jit, static_argnums=0)
    def error(n):
        solved = sdesolve(
            flat,
            jnp.ones(1),
            jnp.asarray([0.0, 1.0]),
            noise,
            method=SRK(),
            substeps=n,
            path_cost=lambda t, z, f, g, args: z[..., 0] ** 2,
        )
        assert solved.cost is not None
        return jnp.abs(solved.cost - (jnp.exp(2.0) - 1) / 2)

    assert 1.8 < float(jnp.log2(error(16) / error(64))) / 2 < 2.2


def test_gradients_are_exact(getkey, x64):
    """Checkpoint equals Store, and both a closed form: d z(T) / d z0 = z(T) / z0."""
    noise = DyadicNoise(getkey(), (5, 1), 0.0, 1.0, 8, area=True)

    def slope(gradient):
        def end(z0):
            solved = sdesolve(
                GBM.sde(),
                z0,
                jnp.asarray([0.0, 1.0]),
                noise,
                method=SRK(),
                substeps=256,
                gradient=gradient,
            )
            return jnp.sum(solved.zs[-1])

        return jax.jit(jax.grad(end))(GBM.start(5))

    exact = GBM.exact(GBM.sde(), GBM.start(5), 1.0, noise.value(1.0), None) / GBM.start(5)
    stored = slope(sde.Store())
    assert_close(slope(sde.Checkpoint()), stored, 1e-12)
    assert_close(stored, exact, 1e-4)


def test_general_noise_is_refused(getkey):
    """With the table of what fits instead."""
    problem = SDE(drift, additive, noise="general", kind="ito")
    with pytest.raises(ValueError, match=r"SRK is for diagonal, scalar, additive noise.*Heun"):
        sdesolve(problem, jnp.zeros(2), jnp.asarray([0.0, 1.0]), getkey(), method=SRK())
