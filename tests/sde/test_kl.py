import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold.sde import (
    SDE,
    Backsolve,
    Checkpoint,
    EulerMaruyama,
    Exact,
    GridNoise,
    Heun,
    PathKL,
    Rates,
    Store,
    kl_rate,
    sdesolve,
)

SHAPES = {"diagonal": (4, 3), "scalar": (4, 3), "additive": (3, 3), "general": (4, 3, 5)}


@pytest.mark.parametrize("noise", SHAPES)
def test_kl_rate_is_half_the_square_of_the_control(noise, x64, getkey):
    """With f - h = g u made from a known u, the rate is |u|^2 / 2 (least norm where g is wide)."""
    g = jax.random.normal(getkey(), SHAPES[noise])
    h = jax.random.normal(getkey(), (4, 3))
    if noise == "diagonal":
        u = jax.random.normal(getkey(), (4, 3))
        gap, square = g * u, jnp.sum(u**2, -1)
    elif noise == "scalar":
        u = jax.random.normal(getkey(), (4,))
        gap, square = g * u[:, None], u**2
    else:
        matrix = jnp.broadcast_to(g, (4, *g.shape[-2:]))
        v = jax.random.normal(getkey(), (4, 3))
        u = jnp.einsum("bdm,bd->bm", matrix, v)  # in the row space, so of least norm
        gap, square = jnp.einsum("bdm,bm->bd", matrix, u), jnp.sum(u**2, -1)
    rate = kl_rate(h + gap, h, g, noise)
    np.testing.assert_allclose(rate, 0.5 * square, rtol=1e-9)


class Linear(eqx.Module):
    rate: jax.Array
    level: jax.Array

    def __call__(self, t, z, args):
        return self.level - self.rate * z


class Constant(eqx.Module):
    value: jax.Array

    def __call__(self, t, z, args):
        return jnp.broadcast_to(self.value, z.shape)


def test_constant_control_costs_the_same_on_every_path(x64, getkey):
    """u constant: u^2 T / 2 on each path, to rounding."""
    prior = Linear(jnp.array(0.7), jnp.array(0.0))
    drift = Linear(jnp.array(0.7), jnp.array(0.6))  # u = 0.6 / 0.5
    sde = SDE(drift, Constant(jnp.array(0.5)), noise="diagonal", kind="stratonovich")
    z0 = jax.random.normal(getkey(), (50, 2))
    ts = jnp.linspace(0, 1.5, 7)
    cost = jax.jit(lambda key: sdesolve(sde, z0, ts, key, path_cost=PathKL(prior)).cost)(getkey())
    np.testing.assert_allclose(cost, 2 * 0.5 * 1.2**2 * 1.5, rtol=1e-12)


def test_divergence_of_two_ou_processes_has_its_closed_form(x64, getkey):
    """E u^2 = (k1 - k0)^2 E z^2 / s^2, with E z^2 of the OU process by formula; |z-score| < 4."""
    k0, k1, s, z0, end = 0.5, 2.0, 0.8, 1.0, 1.0
    sde = SDE(Linear(jnp.array(k1), jnp.array(0.0)), Constant(jnp.array(s)), noise="diagonal",
              kind="ito")  # fmt: skip
    prior = Linear(jnp.array(k0), jnp.array(0.0))
    start, ts = jnp.full((4_000, 1), z0), jnp.linspace(0, end, 2)

    @jax.jit
    def costs(key):
        return sdesolve(sde, start, ts, key, substeps=128, path_cost=PathKL(prior)).cost

    cost = costs(getkey())
    stationary = s**2 / (2 * k1)
    square = stationary * end + (z0**2 - stationary) * (1 - np.exp(-2 * k1 * end)) / (2 * k1)
    exact = 0.5 * ((k1 - k0) / s) ** 2 * square
    error = jnp.std(cost) / np.sqrt(cost.size)
    assert abs(float(jnp.mean(cost) - exact) / float(error)) < 4


class WithIto(eqx.Module):
    weight: jax.Array
    noise: str = eqx.field(static=True)

    def __call__(self, t, z, drift, diffusion, args):
        m = (
            jnp.sin(self.weight * z)
            if self.noise == "diagonal"
            else jnp.sin(self.weight * z[..., 0])
        )
        return Rates(jnp.sum(z**2, -1), m)


def ito_cost(gradient, noise, method=None):
    """Loss of a solve whose cost has an Ito integral, with all that it depends on."""
    g = Constant(jnp.array(0.4))

    def loss(parts, ts, key):
        drift, cost, z0 = parts
        sde = SDE(drift, g, noise=noise, kind="stratonovich")
        out = sdesolve(sde, z0, ts, key, path_cost=cost, gradient=gradient, method=method)
        return jnp.sum(out.cost * jnp.arange(1.0, 4.0)) + jnp.sum(out.zs**2)

    return eqx.filter_jit(eqx.filter_value_and_grad(loss))


@pytest.mark.parametrize("noise", ["diagonal", "scalar"])
def test_ito_integral_in_the_cost_has_the_exact_gradient(noise, x64, getkey):
    """Exact and Checkpoint equal Store to rounding when `path_cost` returns `Rates`."""
    drift = Linear(jnp.array(0.7), jnp.array(0.2))
    parts = (drift, WithIto(jnp.array(1.3), noise), jnp.ones((3, 2)))
    ts, key = jnp.array([0.0, 0.1, 0.25, 0.3, 0.7]), getkey()
    value, expected = ito_cost(Store(), noise)(parts, ts, key)
    for gradient in (Exact(), Checkpoint()):
        same, found = ito_cost(gradient, noise)(parts, ts, key)
        np.testing.assert_allclose(same, value, rtol=1e-13)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, rtol=1e-11)


@pytest.mark.parametrize("method", [EulerMaruyama(), Heun(), None])
def test_ito_integral_is_the_left_point_sum(method, x64, getkey):
    """Additive noise alone, z = W: the cost is sum_i sin(W_i) (W_{i+1} - W_i), for every scheme."""
    key, ts = getkey(), jnp.linspace(0, 1, 9)
    zero = Linear(jnp.array(0.0), jnp.array(0.0))
    sde = SDE(zero, Constant(jnp.array(1.0)), noise="diagonal", kind="stratonovich")

    def cost(t, z, drift, diffusion, args):
        return Rates(jnp.zeros(z.shape[:-1]), jnp.sin(z))

    out = sdesolve(sde, jnp.zeros((3, 1)), ts, key, method=method, path_cost=cost)
    w = out.zs[..., 0]
    np.testing.assert_allclose(
        out.cost, jnp.sum(jnp.sin(w[:-1]) * jnp.diff(w, axis=0), 0), rtol=1e-12
    )


def test_backsolve_refuses_an_ito_integral(getkey):
    """A change of sign doesn't reverse an Ito integral, so it is refused and not got wrong."""
    sde = SDE(Linear(jnp.array(0.7), jnp.array(0.2)), Constant(jnp.array(0.4)), noise="diagonal",
              kind="stratonovich")  # fmt: skip
    cost = WithIto(jnp.array(1.3), "diagonal")
    with pytest.raises(ValueError, match="Ito integral"):
        sdesolve(sde, jnp.ones((3, 2)), jnp.linspace(0, 1, 5), getkey(), path_cost=cost,
                 gradient=Backsolve())  # fmt: skip


def test_ito_integrand_of_the_wrong_shape_is_refused(getkey):
    """The integrand must have the Brownian motion's shape."""
    sde = SDE(Linear(jnp.array(0.7), jnp.array(0.2)), Constant(jnp.array(0.4)), noise="diagonal",
              kind="stratonovich")  # fmt: skip
    cost = WithIto(jnp.array(1.3), "scalar")
    noise = GridNoise(getkey(), (3, 2), 0.0, 1.0, 4)
    with pytest.raises(ValueError, match="Brownian motion's shape"):
        sdesolve(sde, jnp.ones((3, 2)), jnp.linspace(0, 1, 5), noise, path_cost=cost)
