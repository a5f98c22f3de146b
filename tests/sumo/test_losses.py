"""Losses: the model's gradient is unbiased, the encoder's that of the variance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sumo_problems import Encoder, Joint, model, truth, xs

from tenfold.sumo import (
    DiagonalNormal,
    Ladder,
    PowerTail,
    RowPlan,
    baselines,
    clip_unbiased,
    nll_and_encoder_loss,
    reverse_kl,
    score_function,
    sumo,
)

POWER = PowerTail(1.5)


@eqx.filter_jit
def values(both, x, key, plan):
    return sumo(*both, x, key, plan=plan).value


def test_the_gradients_are_those_of_mean_and_spread(getkey, x64):
    """Beside two plain backward passes."""
    key, x, base = getkey(), xs(), jnp.array([-1.0, -2.0, -1.5, -1.2])
    plan = RowPlan.of(np.array([1, 5, 2, 3]), POWER, m=2)

    def loss(both):
        return nll_and_encoder_loss(*both, x, key, plan=plan, baseline=base)[0]

    value, got = eqx.filter_jit(eqx.filter_value_and_grad(loss))(model(0.3))

    @eqx.filter_jit
    def plain(both, of):
        slope = lambda both: of(sumo(*both, x, key, plan=plan).value)  # noqa: E731
        return eqx.filter_value_and_grad(slope)(both)

    mean, down = plain(model(0.3), lambda s: -jnp.mean(s))
    _, square = plain(model(0.3), lambda s: jnp.mean((s - base) ** 2))
    np.testing.assert_allclose(value, mean, atol=1e-12)
    np.testing.assert_allclose(got[0].theta, down[0].theta, atol=1e-12)
    for a, b in zip(jax.tree.leaves(got[1]), jax.tree.leaves(square[1])):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_an_encoder_can_follow_the_bound_of_its_rows(getkey, x64):
    """With equal K the bound is IWAE of as many samples; the model's gradient stays SUMO's."""
    key, x = getkey(), xs()
    plan = RowPlan.of(np.array([3, 3, 3, 3]), POWER, m=2)
    assert plan.waste > 0

    def grad(loss):
        return eqx.filter_jit(eqx.filter_grad(loss))(model(0.3))

    def either(kind):
        loss = lambda b: nll_and_encoder_loss(*b, x, key, plan=plan, encoder_loss=kind)[0]  # noqa: E731
        return grad(loss)

    got = either("bound")
    bound = grad(lambda both: -jnp.mean(baselines.iwae(*both, x, key, k=5).value))
    np.testing.assert_allclose(got[0].theta, either("variance")[0].theta, atol=1e-12)
    for a, b in zip(jax.tree.leaves(got[1]), jax.tree.leaves(bound[1])):
        np.testing.assert_allclose(a, b, atol=1e-12)
    with pytest.raises(ValueError, match="baseline"):
        nll_and_encoder_loss(
            *model(), x, key, plan=plan, encoder_loss="bound", baseline=jnp.zeros(4)
        )


def test_the_bound_of_weights_far_apart_has_a_finite_gradient():
    plan = RowPlan.of(np.array([1, 2]), POWER)
    shares = plan.shares(jnp.asarray([1e3, -1e3, -jnp.inf, 0.0, 0.0] + [0.0] * (plan.rows - 5)))
    np.testing.assert_allclose(shares[:5], [1, 0, 0, 0.5, 0.5])


def test_without_a_gradient_nothing_is_pulled_back(getkey):
    plan = RowPlan.of(np.array([1, 5, 2, 3]), POWER)
    run = lambda both: nll_and_encoder_loss(*both, xs(), getkey(), plan=plan)[0]  # noqa: E731
    flops = lambda f: eqx.filter_jit(f).lower(model()).compile().compiled.cost_analysis()["flops"]  # noqa: E731
    assert flops(run) < 0.6 * flops(eqx.filter_grad(run))


def test_the_default_baseline_is_the_mean_of_the_others(getkey, x64):
    key, x = getkey(), xs()
    plan = RowPlan.of(np.array([1, 5, 2, 3]), POWER)
    s = values(model(), x, key, plan)
    others = jnp.array([jnp.mean(jnp.delete(s, i)) for i in range(4)])

    @eqx.filter_jit
    def slope(both, baseline):
        loss = lambda b: nll_and_encoder_loss(*b, x, key, plan=plan, baseline=baseline)[0]  # noqa: E731
        return eqx.filter_grad(loss)(both)[1]

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        slope(model(), None),
        slope(model(), others),
    )
    with pytest.raises(ValueError, match="others"):
        nll_and_encoder_loss(*model(), x[:1], key)
    with pytest.raises(ValueError, match="baseline"):
        nll_and_encoder_loss(*model(), x, key, baseline=jnp.zeros(3))


def test_training_the_encoder_on_the_spread_lowers_it(getkey):
    """From an encoder that is off, 150 steps: the standard deviation falls below a half."""
    joint, encoder = model()
    encoder = eqx.tree_at(lambda e: e.shift, encoder, jnp.array(1.0))
    x, optim = jnp.linspace(-1, 1, 64), optax.chain(clip_unbiased(5.0), optax.adam(0.05))
    state, key = optim.init(eqx.filter(encoder, eqx.is_array)), getkey()
    ladder = Ladder(512, multiple=512)
    plans = [RowPlan.draw(step, 64, POWER, 2, ladder=ladder) for step in range(150)]

    @eqx.filter_jit
    def advance(encoder, state, key, plan):
        base = truth(x)
        loss = lambda e: nll_and_encoder_loss(joint, e, x, key, plan=plan, baseline=base)[0]  # noqa: E731
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optim.update(eqx.filter_grad(loss)(encoder), state)
        return eqx.apply_updates(encoder, updates), state

    def spread(encoder):
        plan = RowPlan.draw(1, 64, POWER, 2)
        keys = jax.random.split(key, 8)
        runs = jax.lax.map(lambda key: values((joint, encoder), x, key, plan), keys)
        return float(jnp.std(runs - truth(x)[None, :]))

    before = spread(encoder)
    for i, plan in enumerate(plans):
        encoder, state = advance(encoder, state, jax.random.fold_in(key, i), plan)
    assert spread(encoder) < 0.5 * before
    assert 0 <= float(state[0].frequency) < 1


def test_clipping_reports_what_it_costs():
    optim = clip_unbiased(1.0)
    state = optim.init(jnp.zeros(2))
    assert len({leaf.unsafe_buffer_pointer() for leaf in state}) == 4  # or it can't be donated
    for gradient in (jnp.array([3.0, 4.0]), jnp.array([0.3, 0.4])):
        updates, state = optim.update(gradient, state)
    np.testing.assert_allclose(updates, [0.3, 0.4], rtol=1e-6)
    assert (int(state.steps), int(state.clipped)) == (2, 1)
    assert float(state.share_removed) == pytest.approx(4 / 5.5)
    with pytest.raises(ValueError, match="max_norm"):
        clip_unbiased(0.0)


class Draw(eqx.Module):
    """x of the model: z ~ N(0, 1), x = z + theta + noise."""

    theta: jax.Array

    def __call__(self, key):
        return self.theta + jax.random.normal(key, (2,)).sum()


def test_reverse_kl_and_its_gradient_are_those_of_two_gaussians(getkey):
    """p = N(theta, 2) against N(0, 2): KL = theta^2/4, slope theta/2. 4 standard errors."""
    theta, n, key = 0.8, 20_000, getkey()
    plan = RowPlan.draw(1, n, POWER, 2)
    log_target = lambda x: truth(x)  # noqa: E731

    @eqx.filter_jit
    def run(theta):
        def loss(theta):
            encoder = Encoder(jnp.array(0.5), -theta / 2, jnp.log(jnp.array(0.8)))
            encoder = jax.lax.stop_gradient(encoder)
            out = reverse_kl(
                Draw(theta), Joint(theta), encoder, log_target, key, batch=n, plan=plan
            )
            return out[0]

        return jax.value_and_grad(loss)(theta)

    value, slope = run(jnp.array(theta))
    assert float(value) == pytest.approx(theta**2 / 4, abs=4 * 0.9 / n**0.5)
    assert float(slope) == pytest.approx(theta / 2, abs=4 * 1.2 / n**0.5)


class Policy(eqx.Module):
    """x in {0, 1}: logit weight z + bias, z ~ N(0, 1)."""

    weight: jax.Array
    bias: jax.Array

    def draw(self, key):
        a, b = jax.random.split(key)
        logit = self.weight * jax.random.normal(a) + self.bias
        return (jax.random.uniform(b) < jax.nn.sigmoid(logit)).astype(jnp.float32)

    def __call__(self, x, z):
        sign = 2 * x - 1
        logit = self.weight * z + self.bias
        return jax.nn.log_sigmoid(sign * logit) - 0.5 * z**2 - 0.5 * jnp.log(2 * jnp.pi)

    def probability(self):
        z, w = np.polynomial.hermite_e.hermegauss(60)
        logit = self.weight * jnp.asarray(z) + self.bias
        return jnp.sum(jnp.asarray(w / w.sum()) * jax.nn.sigmoid(logit))


def test_the_score_function_gradient_is_the_enumerated_one(getkey):
    """E[R] + tau H of a coin by quadrature; 4.5 standard errors of 20 independent batches."""
    tau = 0.5
    policy = Policy(jnp.array(1.3), jnp.array(0.4))
    encoder = lambda x: DiagonalNormal(0.3 * (2 * x - 1), jnp.ones_like(x))  # noqa: E731
    reward = lambda x: 1.5 * x  # noqa: E731

    def objective(policy):
        p = policy.probability()
        return -(1.5 * p - tau * (p * jnp.log(p) + (1 - p) * jnp.log(1 - p)))

    want = jax.grad(objective)(policy)

    @eqx.filter_jit
    def slope(policy, key, plan, twin):
        loss = lambda p: score_function(  # noqa: E731
            p.draw, p, encoder, reward, key, batch=4000, temperature=tau, plan=plan, twin_plan=twin
        )[0]
        return eqx.filter_grad(loss)(policy)

    ladder = Ladder(64 * 512, multiple=64 * 512)
    draw = lambda seed: RowPlan.draw(seed, 4000, POWER, 2, ladder=ladder)  # noqa: E731
    runs = [slope(policy, getkey(), draw(2 * s), draw(2 * s + 1)) for s in range(20)]
    for name in ("weight", "bias"):
        seen = np.array([float(getattr(run, name)) for run in runs])
        error = seen.std(ddof=1) / len(seen) ** 0.5
        assert abs(seen.mean() - float(getattr(want, name))) < 4.5 * error


def test_estimates_that_share_their_k_are_refused(getkey):
    policy, plan = Policy(jnp.array(1.3), jnp.array(0.4)), RowPlan.draw(0, 5, POWER)
    encoder = lambda x: DiagonalNormal(0.3 * x, jnp.ones_like(x))  # noqa: E731
    loss = lambda **options: score_function(  # noqa: E731
        policy.draw, policy, encoder, lambda x: x, getkey(), batch=5, plan=plan, **options
    )
    for twin in (None, plan):
        with pytest.raises(ValueError, match="twin_plan"):
            loss(temperature=0.5, twin_plan=twin)
    assert np.isfinite(loss()[0])


def test_an_unknown_option_is_named(getkey):
    with pytest.raises(TypeError, match="tails"):
        reverse_kl(Draw(jnp.ones(())), *model(), truth, getkey(), batch=3, tails=POWER)
