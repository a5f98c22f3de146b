import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_problems import TS, draw, exact_model, log_evidence

from tenfold.sde import Exact, Store, elbo, kl_weight, latent_sde

KEYS = 400


@eqx.filter_jit
def bounds(model, xs, keys, substeps, sticking=False):
    """-loss for each key, (keys,)."""
    loss = lambda key: elbo(model, xs, jnp.asarray(TS), key, substeps=substeps, sticking=sticking)
    return -jax.vmap(lambda key: loss(key)[0])(keys)


@eqx.filter_jit
def gradients(model, xs, keys, sticking):
    """d loss / d(gain, shift) for each key, (keys, 2)."""

    def loss(pair, key):
        where = lambda m: (m.posterior.gain, m.encoder.shift)
        changed = eqx.tree_at(where, model, pair)
        return elbo(changed, xs, jnp.asarray(TS), key, substeps=16, sticking=sticking)[0]

    pair = (model.posterior.gain, model.encoder.shift)
    return jnp.stack(jax.vmap(lambda key: jax.grad(loss)(pair, key))(keys), axis=-1)


@pytest.fixture
def series(x64, getkey):
    return draw(getkey(), 3)


def test_bound_reaches_the_evidence_at_the_true_posterior(series, getkey):
    """ELBO = log p(x) with the exact posterior, to the grid's error, which falls with the step."""
    exact = np.mean([log_evidence(x[:, 0]) for x in series])
    keys, gaps = jax.random.split(getkey(), KEYS), []
    for substeps in (8, 32):
        values = bounds(exact_model(), series, keys, substeps)
        gaps.append(float(jnp.mean(values)) - exact)
        error = float(jnp.std(values)) / np.sqrt(KEYS)
    assert abs(gaps[1]) < 4 * error + 0.01
    assert abs(gaps[1]) < abs(gaps[0]) + 4 * error


@pytest.mark.parametrize(("gain", "shift"), [(0.0, 0.0), (1.0, 0.5), (2.0, -0.3)])
def test_bound_stays_below_the_evidence(gain, shift, series, getkey):
    """ELBO < log p(x) for wrong posteriors: of the path, of z0, of both."""
    exact = np.mean([log_evidence(x[:, 0]) for x in series])
    values = bounds(exact_model(gain, shift), series, jax.random.split(getkey(), KEYS), 16)
    error = float(jnp.std(values)) / np.sqrt(KEYS)
    assert float(jnp.mean(values)) + 4 * error < exact


def test_sticking_the_landing_makes_the_log_weight_a_constant(series, getkey):
    """At the true posterior every path gives log p(x): the spread is the grid's, not the path's."""
    keys = jax.random.split(getkey(), 100)
    plain = bounds(exact_model(), series, keys, 32)
    stuck = bounds(exact_model(), series, keys, 32, sticking=True)
    assert float(jnp.std(stuck)) < 0.15 * float(jnp.std(plain))


def test_sticking_the_landing_lowers_the_variance_at_the_true_posterior(series, getkey):
    """The standard deviation of both gradients falls to less than a fifth."""
    keys = jax.random.split(getkey(), 100)
    plain = jnp.std(gradients(exact_model(), series, keys, False), axis=0)
    stuck = jnp.std(gradients(exact_model(), series, keys, True), axis=0)
    assert np.all(np.asarray(stuck / plain) < 0.2)


def test_sticking_the_landing_leaves_the_gradient_unbiased(series, getkey):
    """Away from the true posterior both gradients have one mean; |z| < 4 for each, paired."""
    keys = jax.random.split(getkey(), KEYS)
    model = exact_model(0.4, 0.3)
    gap = gradients(model, series, keys, True) - gradients(model, series, keys, False)
    z = jnp.mean(gap, axis=0) / (jnp.std(gap, axis=0) / np.sqrt(KEYS))
    assert float(jnp.max(jnp.abs(z))) < 4


def test_gradient_is_that_of_the_expectation(series, getkey):
    """The mean gradient equals the slope of the mean bound (common keys, central difference)."""
    keys = jax.random.split(getkey(), 50)
    mean = jnp.mean(gradients(exact_model(0.4, 0.3), series, keys, False), axis=0)
    for i, step in enumerate(np.eye(2) * 1e-4):
        ends = [
            jnp.mean(bounds(exact_model(*(np.array([0.4, 0.3]) + s * step)), series, keys, 16))
            for s in (1, -1)
        ]
        slope = -(ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(mean[i], slope, rtol=1e-5)


def made(key, frames=None, dtype=None):
    return latent_sde(
        3, 2, width=8, context=2, hidden=6, frames=frames, decoder_width=5, dtype=dtype, key=key
    )


@eqx.filter_jit
@eqx.filter_value_and_grad(has_aux=True)
def loss_of(model, xs, ts, key, mask=None, gradient=None, sticking=False, beta=0.7):
    return elbo(
        model, xs, ts, key, mask=mask, gradient=gradient, samples=2, beta=beta, sticking=sticking
    )


@pytest.mark.parametrize("frames", [None, 3])
def test_what_is_hidden_changes_nothing_bitwise(frames, getkey):
    """Loss, parts and gradients have the same bits whatever stands where the mask is False."""
    model, ts = made(getkey(), frames), jnp.array([0.0, 0.1, 0.5, 0.6, 1.0])
    xs, key = jax.random.normal(getkey(), (2, 5, 3)), getkey()
    mask = jax.random.bernoulli(getkey(), 0.6, xs.shape)
    first = loss_of(model, xs, ts, key, mask)
    other = loss_of(model, jnp.where(mask, xs, jnp.nan), ts, key, mask)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other)):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_what_is_hidden_is_left_out_of_the_evidence(series, getkey):
    """With a mask the bound is a bound on log p of the seen entries (here all but one)."""
    seen = np.array([True, True, False, True])
    mask = jnp.broadcast_to(jnp.asarray(seen)[None, :, None], series.shape)
    exact = np.mean([log_evidence(x[:, 0], seen) for x in series])
    _, full = elbo(exact_model(), series, jnp.asarray(TS), getkey(), samples=400)
    _, parts = elbo(exact_model(), series, jnp.asarray(TS), getkey(), samples=400, mask=mask)
    value = sum(float(jnp.mean(p)) * s for p, s in zip(parts.values(), (1, -1, -1)))
    assert value < exact  # the posterior conditions on all of x: a wrong one here
    assert float(jnp.mean(parts["log_likelihood"])) != float(jnp.mean(full["log_likelihood"]))


@pytest.mark.parametrize(("frames", "sticking"), [(None, False), (3, True)])
def test_gradients_reach_every_parameter(frames, sticking, x64, getkey):
    """No array of the model has a gradient that is all zeros: encoder and context included."""
    model = made(getkey(), frames, jnp.float64)
    xs, ts = jax.random.normal(getkey(), (4, 6, 3)), jnp.linspace(0, 1, 6)
    _, gradient = loss_of(model, xs, ts, getkey(), sticking=sticking)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(np.asarray(leaf) != 0), jax.tree_util.keystr(path)


def test_exact_and_stored_gradients_agree(x64, getkey):
    """To 1e-10: context by interval, path cost and its Ito integral included."""
    model = made(getkey(), dtype=jnp.float64)
    xs, ts, key = jax.random.normal(getkey(), (4, 6, 3)), jnp.linspace(0, 1, 6), getkey()
    _, exact = loss_of(model, xs, ts, key, gradient=Exact(), sticking=True)
    _, stored = loss_of(model, xs, ts, key, gradient=Store(), sticking=True)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(stored)):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_latent_ode_has_no_path_divergence(getkey):
    """Without a diffusion the path costs nothing, and one start gives one path."""
    model = eqx.tree_at(lambda m: m.diffusion, made(getkey(), 3), None)
    xs, ts = jax.random.normal(getkey(), (4, 6, 3)), jnp.linspace(0, 1, 6)
    (_, parts), _ = loss_of(model, xs, ts, getkey())
    assert np.all(np.asarray(parts["kl_path"]) == 0)


def test_shapes_that_do_not_fit_are_refused(getkey):
    """A series without a batch axis, and a mask of another shape: one message each."""
    model, ts = made(getkey(), 3), jnp.linspace(0, 1, 6)
    with pytest.raises(ValueError, match="union of the times"):
        elbo(model, jnp.zeros((4, 5, 3)), ts, getkey())
    with pytest.raises(ValueError, match="`mask`"):
        elbo(model, jnp.zeros((4, 6, 3)), ts, getkey(), mask=jnp.ones((4, 6, 2), bool))


def test_kl_weight_rises_linearly_and_stays():
    """From beta / warm_up at step 0 to beta."""
    weights = [float(kl_weight(i, 4, 0.5)) for i in range(6)]
    np.testing.assert_allclose(weights, [0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
