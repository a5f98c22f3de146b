"""Labels of noise that are wrong, and shapes of a latent SDE that don't fit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold import sde

Z = np.array([[0.3, -1.0], [2.0, 0.5]], np.float32)
TS = np.array([0.0, 0.5, 1.0], np.float32)
KEY = jax.random.key(0)


def labelled(diffusion, noise):
    return sde.SDE(lambda t, z, args: -z, diffusion, noise=noise, kind="ito")


def swapped(t, z, args):
    return 1 + 0.1 * z[..., ::-1]


def columns(t, z, args):
    return jnp.stack([jnp.ones_like(z), jnp.sin(z)], axis=-1)


class Coupled(eqx.Module):
    """Entries that depend on each other, with the diagonal that corrections need."""

    def __call__(self, t, z, args):
        return swapped(t, z, args)

    def value_and_jacobian_diagonal(self, t, z, args):
        return swapped(t, z, args), jnp.zeros_like(z)


@pytest.mark.parametrize(
    ("diffusion", "noise", "match"),
    [
        (swapped, "diagonal", r"labelled diagonal, but its entry 0 depends on z\[1\].* 0\.1\)"),
        (columns, "additive", r"labelled additive, but its entry 0, 1 depends on z\[0\]"),
        (lambda t, z, args: z * jnp.nan * z[..., ::-1], "diagonal", r"derivative nan"),
        (columns, "diagonal", r"must have shape \(2, 2\)"),
    ],
    ids=["coupled", "not additive", "nan", "shape"],
)
def test_a_wrong_label_is_refused(diffusion, noise, match):
    with pytest.raises(ValueError, match=match):
        sde.check_noise(labelled(diffusion, noise), 0.0, Z)


@pytest.mark.parametrize(
    ("diffusion", "noise"),
    [
        (lambda t, z, args: jnp.tanh(z) * args, "diagonal"),
        (Coupled(), "diagonal"),
        (swapped, "scalar"),
        (lambda t, z, args: jnp.ones((*z.shape, 2)) * (1 + t), "additive"),
        (columns, "general"),
        (lambda t, z, args: sde.BoundedDiffusion(2, key=KEY)(t, z, args), "diagonal"),
    ],
    ids=["own", "with a diagonal", "scalar", "additive", "general", "net"],
)
def test_a_right_label_is_not(diffusion, noise):
    sde.check_noise(labelled(diffusion, noise), 0.0, Z, 0.5)


def model(frames=None):
    return sde.latent_sde(2, 3, width=4, context=2, hidden=4, frames=frames, key=KEY)


def with_start(size):
    start = sde.DiagonalNormal(jnp.zeros(size), jnp.zeros(size))
    return eqx.tree_at(lambda m: m.z0_prior, model(), start)


def undecoded():
    return eqx.tree_at(lambda m: m.decoder, model(), lambda z: z)


BAD = {
    "channels": (model, (2, 3, 4), {}, r"GRUEncoder: made for series of 2 channels"),
    "frames": (lambda: model(2), (2, 3, 4), {}, r"FramesEncoder: made for series of 2 channels"),
    "too few": (lambda: model(5), (2, 3, 2), {}, r"reads the first 5 frames, `xs` has 3"),
    "no series": (model, (0, 3, 2), {}, r"`xs` must be \(batch, T, D\)"),
    "no samples": (model, (2, 3, 2), {"samples": 0}, "`samples` must be at least 1"),
    "start": (
        lambda: with_start(4),
        (2, 3, 2),
        {},
        r"`z0_prior` of 4 dimensions .* shape \(2, 4\), got \(2, 3\)",
    ),
    "decoder": (
        undecoded,
        (2, 3, 2),
        {},
        r"`xs` has 2 channels, the decoder makes shape \(2, 3\)",
    ),
}


@pytest.mark.parametrize("mistake", BAD)
def test_shapes_that_do_not_fit_are_refused(mistake):
    build, shape, options, match = BAD[mistake]
    with pytest.raises(ValueError, match=match):
        sde.elbo(build(), jnp.ones(shape), jnp.asarray(TS), KEY, **options)


def test_a_forecast_of_no_paths_is_refused():
    with pytest.raises(ValueError, match="`samples` must be at least 1, got 0"):
        sde.forecast(model(), jnp.ones((2, 2, 2)), jnp.asarray(TS), KEY, samples=0)
