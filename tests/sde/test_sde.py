"""Equations: conversions between the calculi, and moments of a known process."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close, assert_unbiased
from sde.gradient_problems import BATCH, CASES, D, M, trained
from sde.sde_problems import GBM, Pull, Scaled
from tenfold import sde
from tenfold.sde._sde import product, product_transpose

W_SHAPES = {
    "diagonal": (BATCH, D),
    "scalar": (BATCH,),
    "additive": (BATCH, M),
    "general": (BATCH, M),
}


def as_matrix(noise, g):
    """The diffusion of one state as a matrix (d, m)."""
    return {"diagonal": jnp.diag, "scalar": lambda g: g[:, None]}.get(noise, lambda g: g)(g)


@pytest.mark.parametrize(("noise", "kind"), CASES)
def test_converted_drift_is_the_formula_with_a_full_jacobian(noise, kind, x64):
    """f -+ 1/2 sum_jk g_kj dg_ij/dz_k, by brute force, one state at a time."""
    p = trained(noise, kind)
    equation, args, t = p["sde"], (p["args"], p["context"][0]), jnp.asarray(0.3)
    other = sde.to_stratonovich(equation) if kind == "ito" else sde.to_ito(equation)
    assert other.kind != kind

    def matrix(z):
        return as_matrix(noise, equation.diffusion(t, z, args))

    def expected(z):
        correction = jnp.einsum("kj,ijk->i", matrix(z), jax.jacfwd(matrix)(z))
        return equation.drift(t, z, args) + (-0.5 if kind == "ito" else 0.5) * correction

    assert_close(other.drift(t, p["z0"], args), jax.vmap(expected)(p["z0"]))


@pytest.mark.parametrize(("noise", "kind"), CASES)
def test_there_and_back_is_the_same_equation(noise, kind):
    """Not an equation that evaluates a correction twice."""
    equation = trained(noise, kind, jnp.float32)["sde"]
    ito, stratonovich = sde.to_ito(equation), sde.to_stratonovich(equation)
    assert (ito if kind == "ito" else stratonovich) is equation
    back = sde.to_ito(stratonovich) if kind == "ito" else sde.to_stratonovich(ito)
    assert back.kind == kind
    assert back.drift is equation.drift


def test_a_diffusion_that_couples_dimensions_is_corrected_by_its_own_derivatives(x64):
    """diag(g_i(z)) with g_i a function of all of z: 1/2 g_i dg_i/dz_i, if it knows its diagonal."""

    class Coupled:
        def __call__(self, t, z, args):
            return 0.3 * jnp.sin(z) * jnp.sum(z, axis=-1, keepdims=True)

        def value_and_jacobian_diagonal(self, t, z, args):
            total = jnp.sum(z, axis=-1, keepdims=True)
            return self(t, z, args), 0.3 * (jnp.cos(z) * total + jnp.sin(z))

    diffusion, z = Coupled(), jnp.array([0.3, -0.5, 1.0])
    equation = sde.SDE(Scaled(jnp.asarray(0.1)), diffusion, noise="diagonal", kind="ito")
    g = diffusion(0.0, z, None)
    own = jnp.diagonal(jax.jacfwd(lambda z: diffusion(0.0, z, None))(z))
    assert_close(sde.to_stratonovich(equation).drift(0.0, z, None), 0.1 * z - 0.5 * g * own)


@pytest.mark.parametrize("noise", W_SHAPES)
def test_product_transpose_is_the_vjp_of_product(noise, x64):
    p = trained(noise, "ito")
    g = p["sde"].diffusion(0.3, p["z0"], (p["args"], p["context"][0]))
    w = jax.random.normal(jax.random.key(0), W_SHAPES[noise])
    a = jax.random.normal(jax.random.key(1), p["z0"].shape)
    value, pull = jax.vjp(lambda g: product(noise, g, w), g)
    assert value.shape == p["z0"].shape
    assert_close(product_transpose(noise, a, w), pull(a)[0])


def test_ornstein_uhlenbeck_has_its_mean_and_variance():
    """z(1) of theta (m - z) dt + s dW: normal, known moments; 20000 paths in one batch."""
    theta, mean, s = 1.5, 0.4, 0.7
    equation = sde.SDE(
        Pull(jnp.float32(theta), jnp.full((1,), mean)),
        lambda t, z, args: jnp.full_like(z, s),
        noise="diagonal",
        kind="ito",
    )
    z0 = jnp.full((20_000, 1), 2.0)
    z = sde.sdesolve(equation, z0, jnp.array([0.0, 1.0]), jax.random.key(8), substeps=64).zs[-1]
    decay = np.exp(-theta)
    assert_unbiased(z, mean + (2.0 - mean) * decay)
    assert_unbiased((z - jnp.mean(z)) ** 2, s**2 * (1 - decay**2) / (2 * theta))


@pytest.mark.parametrize("method", [sde.EulerMaruyama(), sde.ReversibleHeun()])
def test_geometric_brownian_motion_has_its_mean_whatever_the_calculus_of_the_scheme(method):
    """E z(1) = z0 exp(mu): an Ito equation given to a Stratonovich scheme is corrected."""
    z0 = jnp.full((20_000, 1), 1.0)
    ts = jnp.array([0.0, 1.0])
    z = sde.sdesolve(GBM.sde(), z0, ts, jax.random.key(9), method=method, substeps=64).zs[-1]
    assert_unbiased(z, float(np.exp(0.1)))


@pytest.mark.parametrize(
    ("name", "options"),
    [("noise", {"noise": "diag", "kind": "ito"}), ("kind", {"noise": "scalar", "kind": "Ito"})],
)
def test_unknown_noise_types_and_calculi_are_refused_with_the_known_ones(name, options):
    with pytest.raises(ValueError, match=f"`{name}` must be one of .*got '{options[name]}'"):
        sde.SDE(Scaled(jnp.float32(1)), Scaled(jnp.float32(1)), **options)
