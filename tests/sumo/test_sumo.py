"""The packed estimator: as the definition, whatever the packing; unbiased; on pytrees."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sumo_problems import Encoder, Joint, brute, model, truth, xs

from tenfold.sumo import (
    DiagonalNormal,
    GeometricTail,
    Ladder,
    Packing,
    PaperTail,
    PowerTail,
    RowPlan,
    estimate,
    sumo,
)
from tenfold.sumo._rows import one_each, row_keys
from tenfold.sumo._sumo import sample_key

POWER = PowerTail(1.5)
TAILS = {"loo": POWER, "paper": PaperTail(), "antithetic": GeometricTail()}


@eqx.filter_jit
def values(both, x, key, plan, ids=None):
    return sumo(*both, x, key, plan=plan, ids=ids).value


def log_weights(both, x, key, i, n):
    """n log-weights of datum i, one at a time, as `sumo` says that it draws them."""
    joint, encoder = both
    keys = row_keys(sample_key(key), jnp.full(n, i, jnp.int32), jnp.arange(n, dtype=jnp.int32))
    q = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), encoder(x[i]))
    return one_each(joint, q, jnp.broadcast_to(x[i], (n, *x[i].shape)), keys)


@pytest.mark.parametrize("kind", TAILS)
def test_packed_is_padded_is_the_loop(kind, getkey, x64):
    both, key, m = model(0.3), getkey(), 2
    k = np.array([1, 3, 2, 1])
    plan = RowPlan.of(k, TAILS[kind], m, kind)
    packed = values(both, xs(), key, plan)
    n = int(plan.count.max())
    logw = [log_weights(both, xs(), key, i, n) for i in range(4)]
    loop = [brute(logw[i], int(k[i]), TAILS[kind], m, kind) for i in range(4)]
    np.testing.assert_allclose(packed, loop, atol=1e-12)
    one = lambda row, k: estimate(row, k, TAILS[kind], m, kind)  # noqa: E731
    padded = jax.jit(jax.vmap(one))(jnp.stack(logw), jnp.asarray(k, jnp.int32))
    np.testing.assert_allclose(packed, padded, atol=1e-12)


def test_gradients_too(getkey, x64):
    both, key = model(0.3), getkey()
    k = np.array([1, 6, 2, 3])
    plan = RowPlan.of(k, POWER)

    def padded(both):
        logw = [log_weights(both, xs(), key, i, 7) for i in range(4)]
        return sum(estimate(logw[i], jnp.int32(k[i]), POWER) for i in range(4))

    got = eqx.filter_grad(lambda both: jnp.sum(values(both, xs(), key, plan)))(both)
    want = eqx.filter_jit(eqx.filter_grad(padded))(both)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, want)


def test_the_order_of_the_batch_and_the_size_of_the_program_change_nothing(getkey):
    both, key = model(), getkey()
    k, ids = np.array([1, 6, 2, 3]), jnp.array([7, 3, 11, 4])
    first = values(both, xs(), key, RowPlan.of(k, POWER), ids)
    order = np.array([2, 0, 3, 1])
    again = values(both, xs()[order], key, RowPlan.of(k[order], POWER), ids[order])
    np.testing.assert_allclose(again, first[order], rtol=1e-6)
    wide = RowPlan.of(k, POWER, ladder=Ladder(512, multiple=512))
    np.testing.assert_allclose(values(both, xs(), key, wide, ids), first, rtol=1e-6)


def test_chunks_are_the_whole(getkey):
    """Beyond the top of the ladder rows come in chunks, some of them empty: the same values, and
    the same gradients."""
    both, key = model(), getkey()
    k = np.array([1, 30, 2, 60])
    whole = RowPlan.of(k, POWER, ladder=Ladder(128))
    cut = RowPlan.of(k, POWER, ladder=Ladder(16, multiple=8))
    assert (whole.chunks, cut.chunks, cut.rows) == (1, 8, 128)
    np.testing.assert_allclose(
        values(both, xs(), key, cut), values(both, xs(), key, whole), rtol=1e-5
    )
    slope = eqx.filter_grad(lambda both, plan: jnp.sum(values(both, xs(), key, plan)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        slope(both, cut),
        slope(both, whole),
    )


def many(both, kind, tail, m, n, key):
    """n estimates of log p(1), in one program a plan."""
    plan = RowPlan.draw(jax.random.fold_in(key, 2), n, tail, m, kind)
    return np.asarray(values(both, jnp.ones(n), key, plan), np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loo", "antithetic"])
@pytest.mark.parametrize("m", [1, 5])
def test_it_is_unbiased(kind, m, getkey):
    """4 standard errors: false alarms 6 in 100,000."""
    got = many(model(), kind, TAILS[kind], m, 100_000, getkey())
    assert abs(got.mean() - truth(1.0)) < 4 * got.std() / got.size**0.5


@pytest.mark.slow
def test_leave_one_out_has_the_briefs_spread_at_three_and_a_half_rows(getkey):
    got = many(model(), "loo", POWER, 1, 200_000, getkey())
    assert got.std() < 0.65
    assert abs(got.mean() - truth(1.0)) < 4 * got.std() / got.size**0.5


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["multiply", "shift"])
def test_mutants_are_biased(mutant, getkey):
    """Multiplying by the survival, and taking that of j + m: both are seen at 4 errors."""
    n, m, key = 200_000, 5, getkey()
    plan = RowPlan.draw(jax.random.fold_in(key, 2), n, POWER, m)
    pos = np.maximum(plan.pos - m + 1, 1)
    weight = POWER.survival(pos) if mutant == "multiply" else 1 / POWER.survival(pos + m)
    broken = eqx.tree_at(lambda p: p.weight, plan, weight)
    got = np.asarray(values(model(), jnp.ones(n), key, broken), np.float64)
    assert abs(got.mean() - truth(1.0)) > 4 * got.std() / n**0.5


def test_the_slope_in_theta_is_unbiased_and_the_encoders_is_zero(getkey):
    """4 standard errors in each of 4 parameters: false alarms 3 in 10,000."""
    n, key = 20_000, getkey()
    plan = RowPlan.draw(jax.random.fold_in(key, 2), n, POWER, 2)
    both = model(0.3)

    def spread(both):
        """Each datum with parameters of its own, so that one pass gives every gradient."""
        joint, encoder = both

        def log_joint(x, z):
            return Joint(x[1])(x[0], z)

        def encode(x):
            return Encoder(x[2], x[3], x[4])(x[0])

        own = [joint.theta, encoder.slope, encoder.shift, encoder.log_scale]
        x = jnp.stack([jnp.ones(n), *[jnp.full(n, p) for p in own]], axis=1)
        return jax.grad(lambda x: jnp.sum(sumo(log_joint, encode, x, key, plan=plan).value))(x)

    got = np.asarray(eqx.filter_jit(spread)(both), np.float64)[:, 1:]
    error = got.std(0) / n**0.5
    want = np.array([(1 - 0.3) / 2, 0, 0, 0])
    assert (np.abs(got.mean(0) - want) < 4 * error).all()


def test_any_pytree_may_be_latent_and_seen(getkey, x64):
    """Two blocks of latents, data of two leaves: the estimate is that of the flat model."""

    def log_joint(x, z):
        return Joint(jnp.zeros(()))(x["a"], z["u"]) + jnp.sum(
            jax.vmap(Joint(jnp.zeros(())))(x["b"], z["v"])
        )

    def encoder(x):
        mean = {"u": x["a"] / 2, "v": x["b"] / 2}
        return DiagonalNormal(mean, jax.tree.map(lambda m: jnp.full_like(m, 0.5**0.5), mean))

    x = {"a": xs(), "b": jnp.stack([xs(), 2 * xs()], axis=1)}
    got = jax.jit(lambda x, key: sumo(log_joint, encoder, x, key, plan=plan).value)
    plan = RowPlan.of(np.array([1, 2, 3, 1]), POWER)
    want = 2 * truth(xs()) + truth(2 * xs())  # exact: the encoder is the posterior
    np.testing.assert_allclose(got(x, getkey()), want, atol=1e-12)


@pytest.mark.parametrize(("kind", "m"), [("paper", 1), ("loo", 1), ("loo", 3), ("antithetic", 1)])
def test_few_sizes_are_compiled_and_few_rows_wasted(kind, m):
    """Batches of 100, 500 steps; the paper's tail among them, which seldom draws a huge K."""
    found = {}
    for stratified in (False, True):
        packing = Packing()
        for step in range(500):
            packing.add(RowPlan.draw(step, 100, TAILS[kind], m, kind, stratified=stratified))
        found[stratified] = packing
        assert packing.steps == 500
        assert packing.compiled_sizes <= 12
        assert packing.waste < 0.12
    assert found[True].compiled_sizes <= found[False].compiled_sizes


def test_no_k_is_ever_truncated():
    for step in range(200):
        plan = RowPlan.draw(step, 50, PowerTail(1.2))
        np.testing.assert_array_equal(np.bincount(plan.seg[plan.valid]), plan.count)
        assert plan.rows >= plan.count.sum()
        assert plan.pos[plan.valid].max() == plan.count.max() - 1


def test_stratified_draws_keep_the_distribution():
    k = np.concatenate(
        [RowPlan.draw(step, 20, POWER, stratified=True).count - 1 for step in range(500)]
    )
    for j in (2, 3, 5, 10):
        assert np.mean(k >= j) == pytest.approx(POWER.survival(j), abs=0.02)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda key: sumo(*model(), jnp.ones(()), key), "batch axis"),
        (lambda key: sumo(*model(), jnp.ones((0,)), key), "batch axis"),
        (lambda key: sumo(model()[0], lambda x: x, xs(), key), "sample_and_log_prob"),
        (lambda key: sumo(lambda x, z: x[None], model()[1], xs(), key), r"shape \(\)"),
        (lambda key: sumo(*model(), xs(), key, plan=RowPlan.draw(0, 3)), "batch of 3"),
        (lambda key: sumo(*model(), xs(), key, ids=jnp.ones(4)), "integers"),
        (
            lambda key: jax.jit(lambda k: sumo(*model(), xs(), k).value)(key),
            "outside of the jitted",
        ),
        (lambda key: RowPlan.draw(key, 0), "at least 1"),
        (lambda key: RowPlan.of(np.array([0]), POWER), "at least 1"),
        (lambda key: RowPlan.draw(key, 5, GeometricTail(0.7), 1, "antithetic"), "infinite"),
        (lambda key: Ladder(100), "multiple"),
    ],
)
def test_bad_input_is_named(call, says, getkey):
    with pytest.raises(ValueError, match=says):
        call(getkey())
