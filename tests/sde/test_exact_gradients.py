"""`Exact` and `Checkpoint` are backpropagation through the same steps; `Backsolve` is close."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from tenfold import sde

NOISES = ["diagonal", "scalar", "additive", "general"]
TS = [0.0, 0.05, 0.3, 0.55, 1.0]


class Drift(eqx.Module):
    pull: jax.Array
    net: eqx.nn.MLP

    def __call__(self, t, z, args):
        _, context = args
        return jax.vmap(self.net)(z) - self.pull * z + context + t


class Diffusion(eqx.Module):
    scale: jax.Array
    noise: str = eqx.field(static=True)

    def __call__(self, t, z, args):
        if self.noise == "additive":
            return jnp.broadcast_to(self.scale[:, None] * jnp.ones((3, 2)), (*z.shape, 2))
        scale = jnp.broadcast_to(self.scale, z.shape)
        if self.noise == "general":
            return 0.4 * jnp.sin(scale * z)[..., None] * jnp.cos(z[..., None, :2])
        return 0.3 + 0.2 * jnp.sin(scale * (z if self.noise == "diagonal" else z[..., ::-1]))


def effort(t, z, drift, diffusion, args):
    return jnp.sum(drift**2, axis=-1)


def equation(noise):
    net = eqx.nn.MLP(3, 3, 6, 1, activation=jnp.tanh, key=jax.random.key(0))
    diffusion = Diffusion(jnp.array([0.5, 1.0, 1.5]), noise)
    return sde.SDE(Drift(jnp.array(0.3), net), diffusion, noise=noise, kind="ito")


def distance(a, b):
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    square = sum(jnp.sum((x - y) ** 2) for x, y in pairs)
    return float(jnp.sqrt(square / sum(jnp.sum(y**2) for _, y in pairs)))


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_gradients_of_every_kind_agree(noise, x64):
    """In weights, context and start, of a loss at uneven times and of the path cost."""
    context = jnp.sin(jnp.arange(4.0))[:, None, None] * jnp.ones((4, 1, 3))
    start = jax.random.normal(jax.random.key(1), (2, 3))

    @eqx.filter_jit
    def gradient(trained, way):
        def loss(trained):
            equation, context, start = trained
            solution = sde.sdesolve(
                equation, start, jnp.array(TS), jax.random.key(3), context=context, substeps=8,
                gradient=way, path_cost=effort,
            )  # fmt: skip
            at = jnp.arange(1.0, 6.0)[:, None, None]
            return jnp.sum(jnp.sin(solution.zs) * at) + jnp.sum(solution.cost**2)

        return eqx.filter_grad(loss)(trained)

    trained = (equation(noise), context, start)
    stored = gradient(trained, sde.Store())
    assert distance(gradient(trained, sde.Exact()), stored) < 1e-10
    assert distance(gradient(trained, sde.Exact(anchor_every=4)), stored) < 1e-10
    assert distance(gradient(trained, sde.Checkpoint()), stored) < 1e-10
    assert distance(gradient(trained, sde.Backsolve()), stored) < 0.02


def test_a_scheme_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="these fit"):
        sde.sdesolve(
            equation("general"), jnp.ones((2, 3)), jnp.array(TS), jax.random.key(0),
            context=jnp.zeros((4, 1, 3)), method=sde.Milstein(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ts": jnp.array([0.0, 0.5, 0.4])}, "`ts` must increase"),
        ({"z0": jnp.array([[jnp.nan, 0.0, 0.0]])}, "not finite"),
        ({"context": jnp.zeros((3, 1, 3))}, "`context` must have one entry for each"),
    ],
    ids=["times", "start", "context"],
)
def test_bad_input_is_refused_by_name(changed, says):
    given = {"z0": jnp.ones((1, 3)), "ts": jnp.array(TS), "context": jnp.zeros((4, 1, 3))} | changed
    with pytest.raises(ValueError, match=says):
        sde.sdesolve(
            equation("diagonal"), given["z0"], given["ts"], jax.random.key(0),
            context=given["context"],
        )  # fmt: skip
