"""The gradient of a solve with adaptive steps, against closed forms."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sde_problems import GBM, Scaled

from helpers import assert_close
from tenfold import sde
from tenfold.sde import SDE, Adaptive, DyadicNoise, sdesolve

TS = np.asarray([0.0, 0.3, 1.0])
METHODS = [sde.Heun(), sde.ReversibleHeun(), sde.SRK()]


def make(key, shape):
    return DyadicNoise(key, shape, 0.0, 1.0, 18, area=True)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_it_nears_the_pathwise_gradient(method, getkey, x64):
    """d z / d mu = t z, d z / d sigma = (W - sigma t) z, d z / d z0 = z / z0, at all `ts`."""
    noise, z0 = make(getkey(), (8, 1)), GBM.start(8)
    weights = jnp.asarray([0.0, 1.0, -0.5])[:, None, None]

    @partial(jax.jit, static_argnums=0)
    def gradient(tolerance):
        def loss(mu, sigma, z0):
            problem = SDE(Scaled(mu), Scaled(sigma), noise="diagonal", kind="ito")
            steps = Adaptive(tolerance, tolerance)
            return jnp.sum(
                weights * sdesolve(problem, z0, TS, noise, method=method, steps=steps).zs
            )

        return jax.grad(loss, (0, 1, 2))(*(jnp.full_like(z0, x) for x in (0.1, 0.3)), z0)

    t, w = TS[:, None, None], jax.vmap(noise.value)(jnp.asarray(TS))
    z = GBM.exact(GBM.sde(), z0[None], t, w, None)
    truth = (
        jnp.sum(weights * t * z, axis=0),
        jnp.sum(weights * (w - 0.3 * t) * z, axis=0),
        jnp.sum(weights * z / z0[None], axis=0),
    )
    off = [
        [float(jnp.sqrt(jnp.mean((a - b) ** 2))) for a, b in zip(gradient(tolerance), truth)]
        for tolerance in (1e-2, 1e-5)
    ]
    assert (np.asarray(off[1]) < 0.3 * np.asarray(off[0])).all(), off


def test_it_reaches_context_and_path_cost(getkey, x64):
    """With rate a_i in interval i and a cost of 2 b log z: closed forms in a and b."""
    noise, z0 = make(getkey(), (3, 1)), GBM.start(3)

    class Rate(eqx.Module):
        def __call__(self, t, z, args):
            return args[1] * z

    class Cost(eqx.Module):
        b: jax.Array

        def __call__(self, t, z, f, g, args):
            return 2 * self.b * jnp.log(z[..., 0])

    def loss(a, b):
        still = SDE(Rate(), lambda t, z, args: 0.3 * z, noise="diagonal", kind="stratonovich")
        solved = sdesolve(
            still,
            z0,
            TS,
            noise,
            context=a,
            method=sde.Heun(),
            steps=Adaptive(1e-5, 1e-5),
            path_cost=Cost(b),
        )
        return jnp.sum(jnp.log(solved.zs[-1])) + jnp.sum(solved.cost), solved.cost

    a, b = jnp.asarray([0.5, -0.2]), jnp.asarray(0.7)
    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, cost), (in_a, in_b) = run(a, b)
    # log z(T) = log z0 + sum a_i h_i + .3 W; the cost's slope in a_i: int 2 b (t in or past i).
    h = np.diff(TS)
    past = np.asarray([h[0] ** 2 / 2 + h[0] * h[1], h[1] ** 2 / 2])
    assert_close(np.asarray(in_a), 3 * (h + 2 * 0.7 * past), 2e-3)
    assert_close(np.asarray(in_b), np.asarray(jnp.sum(cost) / b), 2e-2)


def test_a_jump_of_the_context_is_met_at_its_time(getkey, x64):
    """Reversible Heun evaluates anew there: the value is that of the closed form still."""
    noise, z0 = make(getkey(), (3, 1)), GBM.start(3)
    still = SDE(
        lambda t, z, args: args[1] * z,
        lambda t, z, args: 0.3 * z,
        noise="diagonal",
        kind="stratonovich",
    )
    steps, a = Adaptive(1e-4, 1e-4), jnp.asarray([5.0, -5.0])
    end = jax.jit(lambda: sdesolve(still, z0, TS, noise, context=a, steps=steps).zs[-1])()
    truth = z0 * jnp.exp(jnp.sum(a * np.diff(TS)) + 0.3 * noise.value(1.0))
    assert_close(end, truth, 5e-3)
