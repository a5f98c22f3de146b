import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import assert_close, assert_unbiased, finite_difference
from tenfold.base import normal_log_prob
from tenfold.hollow import (
    HollowNet,
    KnotMixture,
    MixturePath,
    NeuralMixture,
    fit_path,
    fit_sde,
    fokker_planck_residual,
    hollow_mlp,
)

THETA, SIGMA, V0 = 1.3, 0.7, 0.25
M0 = np.array([1.0, -2.0])


def ou_parameters(t):
    """Of dX = -theta X dt + sigma dW from N(m0, v0): one Gaussian."""
    decay = jnp.exp(-THETA * t)
    variance = SIGMA**2 / (2 * THETA) * (1 - decay**2) + V0 * decay**2
    mean = jnp.asarray(M0, decay.dtype) * decay
    return jnp.zeros(1, decay.dtype), mean[None], jnp.broadcast_to(jnp.sqrt(variance), (1, 2))


def ou_log_prob(t, x):
    _, mean, scale = ou_parameters(t)
    return normal_log_prob(x, mean[0], scale[0])


def ou_drift(t, x, args):
    return -THETA * x


def constant(t, x, args):
    return jnp.full_like(x, SIGMA)


MU, NU = 0.4, 0.6


def gbm_log_prob(t, x):
    """dX = mu X dt + nu X dW from log X ~ N(0, 0.5): log-normal at all times."""
    mean, variance = (MU - NU**2 / 2) * t, 0.5 + NU**2 * t
    return normal_log_prob(jnp.log(x), mean, jnp.sqrt(variance)) - jnp.sum(jnp.log(x))


def well_log_prob(t, x):
    """dX = -U' dt + sqrt 2 dW is at rest at exp(-U) (here not normalised), U = (x^2 - 1)^2."""
    return -jnp.sum((x**2 - 1) ** 2)


def time_changed_log_prob(t, x):
    """dX = a(t) X dt + b(t) dW with a = -t, b^2 = 2 t: X is N(0, 1) once it is."""
    return normal_log_prob(x, 0.0, 1.0)


EQUATIONS = {
    "ou": (ou_log_prob, ou_drift, constant, [0.3, 0.9]),
    "ou-mixture": (MixturePath(ou_parameters), ou_drift, constant, [0.3, 0.9]),
    "gbm": (gbm_log_prob, lambda t, x, a: MU * x, lambda t, x, a: NU * x, [0.5, 2.0]),
    "double well": (
        well_log_prob,
        lambda t, x, a: -4 * x * (x**2 - 1),
        lambda t, x, a: jnp.full_like(x, np.sqrt(2)),
        [0.7, -1.4],
    ),
    "time-dependent": (
        time_changed_log_prob,
        lambda t, x, a: -t * x,
        lambda t, x, a: jnp.sqrt(2 * t) * jnp.ones_like(x),
        [0.7, -1.4],
    ),
}
EVERY = pytest.mark.parametrize("name", EQUATIONS)


@EVERY
def test_the_residual_vanishes_on_solutions(name, x64):
    log_prob, f, g, x = EQUATIONS[name]
    residual = jax.jit(lambda t, x: fokker_planck_residual(log_prob, f, g, t, x))
    assert abs(residual(0.4, jnp.asarray(x))) < 1e-12
    wrong = jax.jit(lambda t, x: fokker_planck_residual(log_prob, lambda t, x, a: f(t, x, a) + 0.1,
                                                        g, t, x))  # fmt: skip
    assert abs(wrong(0.4, jnp.asarray(x))) > 1e-3


def test_the_density_form_is_the_log_form_times_the_density(x64):
    x = jnp.array([0.3, 0.9])
    off = lambda t, x, a: jnp.sin(x)  # noqa: E731
    log_form, density = jax.jit(
        lambda: [
            fokker_planck_residual(ou_log_prob, off, constant, 0.4, x, form=form)
            for form in ("log", "density")
        ]
    )()
    assert_close(density, jnp.exp(ou_log_prob(0.4, x)) * log_form)


def test_the_density_form_by_brute_force(x64, getkey):
    """dp/dt + sum d(f p) - 1/2 sum d^2 (G p), by plain differentiation, for arbitrary nets."""

    @jax.jit
    def both(key):
        one, two = jax.random.split(key)
        f, g = hollow_mlp(2, 2, 4, key=one), hollow_mlp(2, 2, 4, key=two)
        t, x = jnp.asarray(0.4), jnp.array([0.3, 0.9])
        p = lambda t, x: jnp.exp(ou_log_prob(t, x))  # noqa: E731
        flow = lambda x: f(t, x) * p(t, x)  # noqa: E731
        spread = lambda x: g(t, x) ** 2 * p(t, x)  # noqa: E731
        second = jnp.einsum("iii->", jax.hessian(spread)(x))
        expected = jax.grad(p)(t, x) + jnp.trace(jax.jacfwd(flow)(x)) - second / 2
        # Hollow nets are asked for what they know; hidden in a function, they are differentiated.
        plain = lambda t, x, a: g(t, x)  # noqa: E731
        found = [
            fokker_planck_residual(ou_log_prob, f, h, t, x, form="density") for h in (g, plain)
        ]
        return expected, found

    expected, found = both(getkey())
    assert_close(found[0], expected)
    assert_close(found[1], expected)


@pytest.fixture
def path(getkey):
    return MixturePath(NeuralMixture(3, 4, 8, key=getkey()))


def test_score_and_curvature_are_those_of_the_log_density(x64, path):
    x = jnp.array([0.3, -0.8, 1.2])

    @jax.jit
    def run(path, x):
        s, c = path.score_and_curvature(0.4, x)
        f = lambda x: path.log_prob(0.4, x)  # noqa: E731
        return (s, c, path.laplacian(0.4, x)), (jax.grad(f)(x), jax.hessian(f)(x))

    (s, c, laplacian), (gradient, hessian) = run(path, x)
    assert_close(s, gradient)
    assert_close(c, jnp.diag(hessian))
    assert_close(laplacian, jnp.trace(hessian))


def test_samples_have_the_mixtures_moments(path, getkey):
    samples = jax.jit(jax.vmap(lambda k: path.sample(k, 0.4)))(jax.random.split(getkey(), 4000))
    logits, means, scales = path.parameters(0.4)
    weights = jax.nn.softmax(logits)
    mean = weights @ means
    second = weights @ (means**2 + scales**2)
    for i in range(3):
        assert_unbiased(samples[:, i], mean[i])
        assert_unbiased(samples[:, i] ** 2, second[i])


def test_knots_are_met_and_slopes_are_continuous(x64, getkey):
    times = jnp.array([0.0, 0.5, 0.7, 2.0])
    logits, means, logs = (jax.random.normal(getkey(), s) for s in ((4, 2), (4, 2, 1), (4, 2, 1)))
    knots = KnotMixture(times, logits, means, logs)
    assert_close(jax.jit(jax.vmap(knots))(times), (logits, means, jnp.exp(logs)))
    slope = jax.jit(jax.jacfwd(lambda t: knots(t)[1]))
    assert_close(slope(0.5 - 1e-9), slope(0.5 + 1e-9), 1e-6)
    assert_close(slope(0.3), finite_difference(lambda t: knots(t)[1], 0.3, 1.0), 1e-7)
    # A parabola is met between inner knots of even gaps: their slopes are exact.
    even = jnp.arange(4.0)
    parabola = KnotMixture(even, jnp.zeros((4, 1)), (even**2)[:, None, None], jnp.zeros((4, 1, 1)))
    assert_close(parabola(1.4)[1], jnp.full((1, 1), 1.4**2))


def test_beyond_the_knots_a_mixture_stays_what_it_is_at_the_ends(x64):
    times = jnp.array([0.0, 0.5, 2.0])
    knots = KnotMixture(times, jnp.zeros((3, 1)), (times**2)[:, None, None], -times[:, None, None])
    ends = jax.jit(jax.vmap(knots))(jnp.array([-5.0, 0.0, 2.0, 9.0]))
    for leaf in ends:
        np.testing.assert_array_equal(leaf[0], leaf[1])
        np.testing.assert_array_equal(leaf[3], leaf[2])
    # At the ends themselves it still moves: the slope is that from within.
    slope = jax.jit(jax.vmap(jax.jacfwd(lambda t: knots(t)[1][0, 0])))
    slopes = slope(jnp.array([-1.0, 0.0, 2.0, 3.0]))
    assert_close(slopes, jnp.array([0.0, 0.5, 2.5, 0.0]))


def test_a_path_is_fitted_to_snapshots(getkey):
    """Moving Gaussians: the fitted means and scales are theirs, at the times between too."""
    times = jnp.linspace(0.0, 1.0, 5)
    draw = MixturePath(ou_parameters).sample
    keys = jax.random.split(getkey(), (5, 2000))
    samples = jax.jit(jax.vmap(jax.vmap(draw, (0, None))))(keys, times)
    start = MixturePath(
        KnotMixture(times, jnp.zeros((5, 1)), jnp.zeros((5, 1, 2)), jnp.zeros((5, 1, 2)))
    )
    path, losses = fit_path(
        start, times, samples, steps=400, optimiser=optax.adam(3e-2), key=getkey()
    )
    assert losses[-1] < losses[0]
    for t in (0.0, 0.4, 1.0):
        _, mean, scale = path.parameters(t)
        _, true_mean, true_scale = ou_parameters(jnp.asarray(t))
        np.testing.assert_allclose(mean, true_mean, atol=0.08)
        np.testing.assert_allclose(scale, true_scale, atol=0.06)
    with pytest.raises(ValueError, match=r"`samples` must have shape \(T, n, d\) with T = 5"):
        fit_path(start, times, samples[:3], key=getkey())


def energy_distance(a, b):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|."""

    def mean(x, y):
        return np.mean(np.linalg.norm(x[:, None] - y[None], axis=-1))

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def test_a_fitted_drift_gives_the_marginals_of_ou_within_sampling_error(getkey):
    """1000 paths at t = 1 against 1000 exact draws; the bound is the largest energy distance of
    20 pairs of exact draws, times 1.5."""
    drift = hollow_mlp(2, 4, 16, tau_width=16, key=getkey())
    fitted = fit_sde(
        MixturePath(ou_parameters), drift, constant, 0.0, 1.0, steps=800, batch=128,
        optimiser=optax.adam(optax.cosine_decay_schedule(2e-2, 800)), key=getkey(),
    )  # fmt: skip
    assert fitted.losses[-50:].mean() < 0.02 * fitted.losses[0]
    assert isinstance(fitted.drift, HollowNet)
    draw = jax.jit(jax.vmap(MixturePath(ou_parameters).sample, (0, None)))

    @jax.jit
    def simulated(key):
        start, noise = jax.random.split(key)
        x = draw(jax.random.split(start, 1000), jnp.asarray(0.0))
        n = 100

        def step(x, i):
            w = jax.random.normal(jax.random.fold_in(noise, i), x.shape) / np.sqrt(n)
            f = jax.vmap(fitted.drift, (None, 0))(i / n, x)
            return x + f / n + SIGMA * w, None

        return jax.lax.scan(step, x, jnp.arange(n, dtype=jnp.int32))[0]

    end = jnp.asarray(1.0)
    exact = [np.asarray(draw(jax.random.split(getkey(), 1000), end)) for _ in range(40)]
    bound = 1.5 * max(energy_distance(a, b) for a, b in zip(exact[::2], exact[1::2]))
    assert energy_distance(np.asarray(simulated(getkey())), exact[0]) < bound


def test_a_diffusion_is_fitted_if_asked(getkey):
    class Scale(eqx.Module):
        log: jax.Array

        def __call__(self, t, x, args):
            return jnp.exp(self.log) * jnp.ones_like(x)

    start = Scale(jnp.zeros(()))
    kind = {"steps": 300, "batch": 64, "optimiser": optax.adam(3e-2), "key": getkey()}
    free = fit_sde(MixturePath(ou_parameters), ou_drift, start, 0, 1, fit_diffusion=True, **kind)
    assert_close(jnp.exp(free.diffusion.log), jnp.asarray(SIGMA), 0.02)
    held = fit_sde(MixturePath(ou_parameters), ou_drift, start, 0, 1, **{**kind, "steps": 1})
    assert_close(held.diffusion.log, start.log)


def test_wrong_input_is_refused_by_name(getkey):
    x = jnp.ones(2)
    with pytest.raises(ValueError, match="`diffusion"):
        fokker_planck_residual(ou_log_prob, ou_drift, lambda t, x, a: x[:1], 0.0, x)
    with pytest.raises(ValueError, match=r"`x` must have shape \(2,\)"):
        MixturePath(ou_parameters)(jnp.asarray(0.0), jnp.ones(3))
    with pytest.raises(ValueError, match="`power` must be 1 or 2"):
        fit_sde(MixturePath(ou_parameters), ou_drift, constant, 0, 1, power=3, key=getkey())
    with pytest.raises(ValueError, match="`batch` must be at least 1, got 0"):
        fit_sde(MixturePath(ou_parameters), ou_drift, constant, 0, 1, batch=0, key=getkey())
    with pytest.raises(ValueError, match="`t1` must not be before `t0`"):
        fit_sde(MixturePath(ou_parameters), ou_drift, constant, 2, 0, key=getkey())


@pytest.mark.parametrize(
    ("times", "k", "m", "message"),
    [
        ([0.0], 1, 2, "`times` needs at least 2 knots"),
        ([[0.0, 1.0]], 2, 2, "`times` needs at least 2 knots"),
        ([0.0, 2.0, 1.0], 3, 2, "`times` must increase"),
        ([0.0, 0.0, 1.0], 3, 2, "`times` must increase"),
        ([0.0, 1.0, jnp.nan], 3, 2, "`times` must increase"),
        ([0.0, 1.0, 2.0], 2, 2, "a row for each of the 3 `times`, got 2"),
        ([0.0, 1.0, 2.0], 3, 1, r"`logits` must have shape \(K, M\).* got \(3, 1\), \(3, 2, 1\)"),
    ],
)
def test_knots_that_are_none_are_refused(times, k, m, message):
    with pytest.raises(ValueError, match=message):
        KnotMixture(jnp.array(times), jnp.zeros((k, m)), jnp.zeros((k, 2, 1)), jnp.zeros((k, 2, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": [[[jnp.nan]], [[0.0]]]}, "`samples` must be finite, but 1 of"),
        ({"times": [jnp.nan, 1.0]}, "`times` must be finite, but 1 of"),
        ({"samples": np.zeros((2, 0, 1))}, "`samples` must hold a point"),
        ({"samples": np.zeros((2, 1, 1), int)}, "`samples` must hold real floating-point"),
        ({"times": [0.0, 0.5, 1.0]}, r"`samples` must have shape \(T, n, d\) with T = 3"),
        ({"times": 0.0}, r"`times` must have shape \(T,\)"),
        ({"batch": 0}, "`batch` must be at least 1, got 0"),
    ],
)
def test_snapshots_that_are_none_are_refused(change, message, getkey):
    arguments = {"times": [0.0, 1.0], "samples": np.zeros((2, 1, 1)), "batch": 4} | change
    with pytest.raises(ValueError, match=message):
        fit_path(MixturePath(ou_parameters), **arguments, key=getkey())
