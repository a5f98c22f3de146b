import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_problems import Prior, Spread

from tenfold.sde import (
    BoundedDiffusion,
    BoundedDrift,
    DiagonalNormal,
    Encoding,
    Gaussian,
    Heun,
    LatentSDE,
    forecast,
    latent_sde,
    sdesolve,
    sentinel,
)

TS = jnp.array([0.0, 0.2, 0.3, 0.7, 1.0, 1.5])


def start_only(xs, ts, mask):
    """q(z0) = N(x0, 0.1^2), and nothing for the path."""
    return Encoding(xs[:, 0], jnp.full_like(xs[:, 0], 0.1))


def start_nowhere(xs, ts, mask):
    return Encoding(xs[:, 0], xs[:, 0] * jnp.nan)


def free_model():
    """Posterior and prior are both dz = -z dt + dW / 2."""
    zero = jnp.zeros(1)
    return LatentSDE(
        encoder=start_only,
        posterior=Prior(jnp.array(1.0)),
        prior=Prior(jnp.array(1.0)),
        diffusion=Spread(jnp.array(0.5)),
        decoder=lambda z: z,
        z0_prior=DiagonalNormal(zero, zero),
        observation=Gaussian(1, scale=0.2, floor=0.0),
    )


# ---- Forecast ---------------------------------------------------------------------------------
@pytest.mark.parametrize("beyond", ["prior", "posterior"])
def test_forecast_has_the_moments_of_the_process(beyond, x64, getkey):
    """OU mean and variance at the last time, observation noise in the draws alone; |z| < 4."""
    ts, n = jnp.linspace(0, 1.5, 31), 4_000
    context = jnp.broadcast_to(jnp.array([[[1.0]], [[-0.5]]]), (2, 3, 1))
    run = jax.jit(lambda key: forecast(free_model(), context, ts, key, samples=n, beyond=beyond))
    found = run(getkey())
    decay = np.exp(-1.5)
    mean = np.array([1.0, -0.5]) * decay
    variance = 0.1**2 * decay**2 + 0.5**2 / 2 * (1 - decay**2)
    last = np.asarray(found.means[:, :, -1, 0])
    assert np.all(np.abs(last.mean(0) - mean) / np.sqrt(variance / n) < 4)
    assert np.all(np.abs(last.var(0) / variance - 1) / np.sqrt(2 / n) < 4)
    seen = np.asarray(found.draws[:, :, -1, 0]).var(0)
    assert np.all(np.abs(seen / (variance + 0.2**2) - 1) / np.sqrt(2 / n) < 4)


def test_band_holds_its_share_of_the_draws(getkey):
    """A band of 0.8 holds 80 % of the draws, and lies around the mean."""
    run = eqx.filter_jit(
        lambda key: forecast(free_model(), jnp.ones((2, 3, 1)), TS, key, samples=500)
    )
    found = run(getkey())
    low, high = found.band(0.8)
    inside = (found.draws >= low[None]) & (found.draws <= high[None])
    np.testing.assert_allclose(jnp.mean(inside, axis=0), 0.8, atol=0.01)
    assert bool(jnp.all(low < found.mean) & jnp.all(found.mean < high))


def test_forecast_has_the_posterior_within_the_context_and_the_prior_beyond(getkey):
    """The first k times equal a posterior solve of the context alone, bit for bit."""
    model = latent_sde(2, 3, width=6, context=2, hidden=5, key=getkey())
    xs, key = jax.random.normal(getkey(), (2, 3, 2)), getkey()
    run = eqx.filter_jit(lambda ts: forecast(model, xs, ts, key, samples=4))
    whole, short = run(TS), run(TS[:3])
    assert whole.zs.shape == (4, 2, 6, 3)
    np.testing.assert_array_equal(whole.zs[:, :, :3], short.zs)


def test_forecast_refuses_what_it_cannot_do(getkey):
    """More context than times; a context by interval beyond the context; an unknown drift."""
    model = latent_sde(2, 3, width=6, context=2, hidden=5, key=getkey())
    xs = jnp.zeros((2, 3, 2))
    with pytest.raises(ValueError, match="2 <= k <= T"):
        forecast(model, xs, TS[:2], getkey())
    with pytest.raises(ValueError, match="context by interval"):
        forecast(model, xs, TS, getkey(), beyond="posterior")
    ode = eqx.tree_at(lambda m: m.diffusion, model, None)
    with pytest.raises(ValueError, match="context by interval"):
        forecast(ode, xs, TS, getkey())
    with pytest.raises(ValueError, match="prior or posterior"):
        forecast(model, xs, TS, getkey(), beyond="later")
    with pytest.raises(ValueError, match="0 < level < 1"):
        forecast(free_model(), jnp.ones((2, 3, 1)), TS, getkey()).band(1.0)


# ---- Pieces -----------------------------------------------------------------------------------
def test_bounded_drift_cannot_blow_up(getkey):
    """Weights a thousand times too large: 300 steps of Heun stay below bound / rate + noise."""
    drift = BoundedDrift(2, 8, bound=5.0, rate=0.5, key=getkey())
    wild = jax.tree.map(lambda x: 1e3 * x if eqx.is_inexact_array(x) and x.ndim == 2 else x, drift)
    zs = free_solve(wild, getkey())
    assert float(jnp.max(jnp.abs(zs))) < 5.0 / 0.5 + 5


def free_solve(drift, key):
    diffusion = BoundedDiffusion(2, key=jax.random.key(0))
    model = LatentSDE(start_only, drift, drift, diffusion, lambda z: z,
                      DiagonalNormal(jnp.zeros(2), jnp.zeros(2)), Gaussian(2))  # fmt: skip
    ts = jnp.linspace(0, 30, 301)
    return sdesolve(model.prior_sde(), jnp.ones((4, 2)), ts, key, method=Heun()).zs


def test_diffusion_stays_between_its_ends_and_is_diagonal(x64, getkey):
    """Floor < g < ceiling wherever z is, g begins near `start`, dg_i/dz_j = 0 off the diagonal."""
    diffusion = BoundedDiffusion(3, floor=0.1, ceiling=0.9, start=0.4, key=getkey())
    z = 100 * jax.random.normal(getkey(), (1_000, 3))
    g = diffusion(0.0, z, None)
    assert float(jnp.min(g)) >= 0.1
    assert float(jnp.max(g)) <= 0.9
    np.testing.assert_allclose(diffusion(0.0, jnp.zeros(3), None), 0.4, atol=0.1)
    jacobian = jax.jacobian(lambda z: diffusion(0.0, z, None))(z[0] / 100)
    np.testing.assert_array_equal(jacobian, jnp.diag(jnp.diag(jacobian)))


def test_pieces_refuse_impossible_bounds(getkey):
    """A floor above the start, a scale below its floor."""
    with pytest.raises(ValueError, match="floor < start"):
        BoundedDiffusion(2, floor=0.5, start=0.4, key=getkey())
    with pytest.raises(ValueError, match="scale > floor"):
        Gaussian(2, scale=0.01, floor=0.1)


# ---- Sentinel ---------------------------------------------------------------------------------
class Breaks(eqx.Module):
    """A field that is nan after time `when` (or for |z| > `high`)."""

    field: eqx.Module
    when: float = np.inf

    def __call__(self, t, z, args):
        return jnp.where(t > self.when, jnp.nan, self.field(t, z, args))


BROKEN = {
    "drift": lambda m: (m.posterior, Breaks(m.posterior, 0.5)),
    "prior": lambda m: (m.prior, Breaks(m.prior, 0.5)),
    "diffusion": lambda m: (m.diffusion, Breaks(m.diffusion, 0.5)),
}


@pytest.mark.parametrize("term", BROKEN)
def test_sentinel_names_the_field_that_broke_and_when(term, getkey):
    """Broken after 0.5; the first time after it on the grid of substeps is 0.7."""
    model = free_model()
    where = {"drift": "posterior"}.get(term, term)
    model = eqx.tree_at(lambda m: getattr(m, where), model, BROKEN[term](model)[1])
    found = sentinel(model, jnp.ones((2, 6, 1)), TS, getkey(), substeps=2)
    assert found is not None
    assert found.term == term
    np.testing.assert_allclose(found.time, 0.7, rtol=1e-6)
    assert str(found) == f"`{term}` became non-finite at t = 0.7"


def test_sentinel_names_u_where_the_diffusion_vanishes(getkey):
    """g = 0 with two drifts apart: u is infinite from the first step on."""
    model = eqx.tree_at(lambda m: (m.diffusion.value, m.prior.rate), free_model(),
                        (jnp.array(0.0), jnp.array(2.0)))  # fmt: skip
    found = sentinel(model, jnp.ones((2, 6, 1)), TS, getkey())
    assert found == ("u", 0.0)


def test_sentinel_names_a_step_that_is_too_large(getkey):
    """dz = 1e30 z dt overflows within a step: every field was finite before it."""
    steep = lambda t, z, args: 1e30 * z  # noqa: E731
    model = eqx.tree_at(lambda m: (m.posterior, m.prior), free_model(), (steep, steep))
    found = sentinel(model, jnp.ones((2, 6, 1)), TS, getkey())
    assert found is not None
    assert found.term == "step"
    assert found.time > 0


def test_sentinel_names_an_unstable_scheme(getkey):
    """A pull over 20 units of time, where the states of reversible Heun part; Heun has one."""
    model, xs = free_model(), jnp.ones((2, 2, 1))
    model = eqx.tree_at(lambda m: m.posterior, model, lambda t, z, args: -jnp.tanh(3 * z))
    look = lambda **options: sentinel(  # noqa: E731
        model, xs, jnp.array([0.0, 20.0]), getkey(), substeps=200, **options
    )
    found = look()
    assert found == ("scheme", 20.0)
    assert str(found) == "the scheme became unstable before t = 20"
    assert look(method=Heun()) is None


def test_sentinel_names_a_divergence_that_overflows(getkey):
    """u is finite, its square is not; and a start whose divergence isn't."""
    model, xs = free_model(), jnp.ones((2, 6, 1))
    far = eqx.tree_at(lambda m: m.prior, model, lambda t, z, args: jnp.full_like(z, 1e25))
    assert sentinel(far, xs, TS, getkey()) == ("kl_path", 0.0)
    narrow = eqx.tree_at(lambda m: m.z0_prior.mean, model, jnp.full((1,), 1e25))
    assert sentinel(narrow, xs, TS, getkey()) == ("kl_z0", 0.0)


@pytest.mark.parametrize("term", ["xs", "encoder", "z0_prior", "observation"])
def test_sentinel_names_what_has_no_time(term, getkey):
    """Data, q(z0), p(z0) and the observation scale, in this order."""
    model, xs = free_model(), jnp.ones((2, 6, 1))
    nan = jnp.full((1,), jnp.nan)
    if term == "xs":
        xs = xs.at[0, 2].set(jnp.nan)
    elif term == "encoder":
        model = eqx.tree_at(lambda m: m.encoder, model, start_nowhere)
    elif term == "z0_prior":
        model = eqx.tree_at(lambda m: m.z0_prior.mean, model, nan)
    else:
        model = eqx.tree_at(lambda m: m.observation.log_scale, model, nan)
    assert sentinel(model, xs, TS, getkey()) == (term, 0.0)


def test_sentinel_is_quiet_when_all_is_finite(getkey):
    """Also with a nan that the mask hides."""
    xs = jnp.ones((2, 6, 1)).at[0, 2].set(jnp.nan)
    assert sentinel(free_model(), xs, TS, getkey(), mask=jnp.isfinite(xs)) is None
    model = latent_sde(2, 3, width=6, context=2, hidden=5, key=getkey())
    assert sentinel(model, jnp.ones((2, 6, 2)), TS, getkey(), substeps=2) is None
