import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import assert_close, assert_unbiased
from tenfold.base import Solve, normal_log_prob
from tenfold.base.fit import fit
from tenfold.hollow import FlowVAE, flow_vae, hollow_mlp
from tenfold.hollow.baselines import (
    ContextMLP,
    Continuous,
    Identity,
    InverseAutoregressive,
    Planar,
    Sylvester,
    iaf,
    planar,
    sylvester,
)

D, C = 4, 3
FIXED = Solve(dfx.Tsit5(), dfx.ConstantStepSize(), 0.25, dfx.ForwardMode(), 8)


def hollow(key):
    return Continuous(hollow_mlp(D, 4, 8, context=C, key=key), solve=FIXED)


def ffjord(key):
    return Continuous(ContextMLP(D, C, 8, key=key), hutchinson=True, solve=FIXED)


FLOWS = {
    "none": lambda key: Identity(),
    "planar": lambda key: planar(D, C, 3, key=key),
    "iaf": lambda key: iaf(D, C, 3, 8, key=key),
    "sylvester": lambda key: sylvester(D, C, 3, key=key),
    "hollow": hollow,
    "ffjord": ffjord,
}
EXACT = [name for name in FLOWS if name != "ffjord"]


@pytest.mark.parametrize("name", EXACT)
def test_the_log_determinant_is_that_of_the_jacobian(name, x64, getkey):
    @jax.jit
    def run(key):
        make, at, told = jax.random.split(key, 3)
        flow = FLOWS[name](make)
        # Parameters well away from their start.
        flow = jax.tree.map(lambda a: 2 * a if eqx.is_inexact_array(a) else a, flow)
        z, context = jax.random.normal(at, (D,)), jax.random.normal(told, (C,))
        jacobian = jax.jacfwd(lambda z: flow(z, context)[0])(z)
        return flow(z, context)[1], jnp.linalg.slogdet(jacobian)

    found, (sign, expected) = run(getkey())
    assert sign == 1
    # An ODE's log-determinant is solved, and not that of its solver's map.
    assert_close(found, expected, 2e-4 if name == "hollow" else 1e-10)


def test_ffjords_log_determinant_is_right_in_the_mean(getkey):
    flow, z, context = ffjord(getkey()), jnp.ones(D), jnp.ones(C)

    @eqx.filter_jit
    def run(flow, keys):
        estimates = jax.vmap(lambda k: flow(z, context, k)[1])(keys)
        return estimates, Continuous(flow.field, solve=FIXED)(z, context)[1]

    found, exact = run(flow, jax.random.split(getkey(), 2000))
    assert np.std(found) > 1e-3
    assert_unbiased(found, float(exact))
    with pytest.raises(ValueError, match="needs `key`"):
        flow(z, context)


def test_the_orders_of_an_iaf_are_strict(x64, getkey):
    for reverse in (False, True):
        flow = InverseAutoregressive(D, C, 8, reverse=reverse, key=getkey())
        slopes = jax.jit(jax.jacfwd(lambda z: flow(z, jnp.ones(C))[0]))(jnp.arange(4.0))  # noqa: B023
        hidden = np.tril(slopes, -1) if reverse else np.triu(slopes, 1)
        shown = np.triu(slopes, 1) if reverse else np.tril(slopes, -1)
        assert (hidden == 0).all()
        assert np.count_nonzero(shown) == D * (D - 1) // 2


@pytest.mark.parametrize("name", EXACT)
def test_elbo_is_below_the_evidence_by_the_divergence_from_the_posterior(name, getkey):
    """Linear-Gaussian x = z + noise: log p(x) and the posterior are known, and at an encoder that
    is the posterior, with no flow, every log-weight is log p(x)."""
    noise = 0.5
    x = jnp.array([0.3, -1.0, 0.7, 0.1])
    evidence = float(normal_log_prob(x, 0.0, np.sqrt(1 + noise**2)))
    gain, spread = 1 / (1 + noise**2), np.sqrt(noise**2 / (1 + noise**2))

    # A flow moves q away: a wider start keeps the weights' tails light, and so the test sharp.
    start = spread if name == "none" else 1.3 * spread

    def encoder(x):
        return jnp.concatenate([gain * x, jnp.full(D, np.log(start)), 0.1 * jnp.ones(C)])

    def likelihood(x, mean):
        return normal_log_prob(x, mean, noise)

    flow = jax.jit(FLOWS[name])(getkey())
    if name == "sylvester":
        flow = jax.tree.map(lambda a: 0.3 * a, flow)
    vae = FlowVAE(encoder, lambda z: z, flow, D, likelihood)
    weights = eqx.filter_jit(lambda v, k: jax.vmap(lambda k: v.log_weight(x, k))(k))(
        vae, jax.random.split(getkey(), 4000)
    )
    if name == "none":
        np.testing.assert_allclose(weights, evidence, atol=1e-5)
        return
    assert np.mean(weights) < evidence
    # A weight's mean is p(x) whatever the posterior, if its density is right.
    assert_unbiased(np.exp(np.asarray(weights, np.float64) - evidence), 1.0)


def test_a_hollow_posterior_learns(getkey):
    """Training raises the ELBO; the conditioner and what tells it the context are trained too."""
    x = (jax.random.uniform(getkey(), (32, 6)) < 0.5).astype(jnp.float32)
    coarse = Solve(dfx.Euler(), dfx.ConstantStepSize(), 0.5, max_steps=2)
    flow = Continuous(hollow_mlp(2, 2, 4, context=3, key=getkey()), solve=coarse)
    vae = flow_vae(6, 2, flow, context=3, width=8, key=getkey())

    def loss(vae, key):
        return -jnp.mean(jax.vmap(vae.elbo)(x, jax.random.split(key, 32)))

    trained, losses = fit(loss, vae, optax.adam(1e-2), 60, key=getkey())
    assert losses[-10:].mean() < losses[:10].mean() - 0.1
    before, after = vae.flow.field.conditioner, trained.flow.field.conditioner
    assert jnp.abs(before.first - after.first).max() > 1e-3
    assert jnp.abs(before.offset.context - after.offset.context).max() > 1e-3


def test_more_samples_bring_the_bound_nearer(getkey):
    vae = flow_vae(6, 2, Identity(), width=8, key=getkey())
    x = jnp.array([1.0, 0, 1, 1, 0, 0])
    keys = jax.random.split(getkey(), 200)
    few, many = (
        np.asarray(jax.jit(jax.vmap(lambda k, n=n: vae.log_marginal(x, k, n)))(keys))
        for n in (1, 50)
    )
    assert many.mean() > few.mean()
    assert many.std() < few.std()


def test_wrong_sizes_are_refused_by_name(getkey):
    with pytest.raises(ValueError, match=r"`width` must be at least d - 1 = 9"):
        InverseAutoregressive(10, 2, 8, key=getkey())
    with pytest.raises(ValueError, match="Planar: `size` must be at least 1"):
        Planar(0, 2, key=getkey())
    with pytest.raises(ValueError, match="`reflections` must be at least 1"):
        Sylvester(2, 2, 0, key=getkey())
