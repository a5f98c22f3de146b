"""The paper's adjoint: its order, and why it needs the Stratonovich form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from sde.gradient_problems import gradients, relative_error, trained
from sde.sde_problems import ARCTAN, GBM, NONCOMMUTING, SCALAR
from tenfold import sde
from tenfold.sde import Backsolve, Store


@pytest.mark.parametrize(
    ("problem", "order"),
    [(GBM, 1.0), (SCALAR, 1.0), (NONCOMMUTING, 0.5)],
    ids=lambda x: str(x)[:20],
)
def test_backsolve_gradient_converges_at_order_one_or_a_half_without_commuting_noise(
    problem, order, x64
):
    """To the gradient along the path, an Ito equation's too: it is corrected."""
    found = sde.gradient_order(
        problem.sde(),
        problem.start(),
        method=sde.ReversibleHeun(),
        gradient=Backsolve(),
        exact=problem.exact,
        args=problem.parameters(),
        ns=(16, 64, 256),
        finer=8,
        key=jax.random.key(3),
    )
    assert abs(float(found.slope) - order) < 0.1


def test_backsolve_with_context_cost_and_uneven_times_approaches_the_stored_gradient(x64):
    """Halving the steps about halves the distance."""
    p = trained("diagonal", "ito")
    errors = [
        relative_error(gradients(p, Backsolve(), substeps=n), gradients(p, Store(), substeps=n))
        for n in (16, 128)
    ]
    assert errors[1] < errors[0] / 4
    assert errors[1] < 1e-2


def backwards(problem, n, kind):
    """Solves from the end back to the start on the same path, by Heun's scheme, with the terms of
    the calculus `kind` negated; the largest distance from z0."""
    equation = sde.to_stratonovich(problem.sde()) if kind == "stratonovich" else problem.sde()
    z0, args = problem.start(50), problem.parameters()
    w = jnp.sqrt(1 / n) * jax.random.normal(jax.random.key(9), (n, *z0.shape), z0.dtype)
    forward = sde.sdesolve(
        problem.sde(),
        z0,
        jnp.array([0.0, 1.0]),
        sde.RecordedNoise(jnp.linspace(0, 1, n + 1), w),
        args=args,
        method=sde.Milstein(),
        substeps=n,
    )

    def moved(t, z, w):
        return equation.drift(t, z, args) / n + equation.diffusion(t, z, args) * w

    def step(z, x):
        i, w = x
        first = moved((i + 1) / n, z, w)
        second = moved(i / n, z - first, w)
        return z - 0.5 * (first + second), None

    def naive(z, x):
        return z - moved((x[0] + 1) / n, z, x[1]), None

    i = jnp.arange(n, dtype=z0.dtype)
    scheme = step if kind == "stratonovich" else naive
    back = jax.lax.scan(scheme, forward.zs[-1], (i, w), reverse=True)[0]
    return float(jnp.max(jnp.abs(back - z0)))


@pytest.mark.parametrize("problem", [GBM, ARCTAN], ids=lambda p: p.name)
def test_negated_ito_terms_do_not_give_the_path_back_and_stratonovich_ones_do(problem, x64):
    """The first stay away from z0 however small the steps; the second approach it."""
    naive = [backwards(problem, n, "ito") for n in (64, 1024)]
    right = [backwards(problem, n, "stratonovich") for n in (64, 1024)]
    assert naive[1] > 0.05
    assert naive[1] > 0.5 * naive[0]
    assert right[1] < 0.01
    assert right[1] < 0.15 * right[0]


def test_the_state_starts_again_from_what_was_saved(x64):
    """With more of `ts` on the way the gradient of the end gets closer, at the same steps."""
    equation, z0 = GBM.sde(), GBM.start()
    truth, key = eqx.filter_grad, jax.random.key(4)
    noise = sde.GridNoise(key, (1,), 0.0, 1.0, 64, dtype=z0.dtype)

    def of_end(equation, ts, gradient):
        n = 64 // (len(ts) - 1)
        zs = sde.sdesolve(equation, z0, ts, noise, gradient=gradient, substeps=n).zs
        return jnp.sum(zs[-1])

    few, many = jnp.linspace(0, 1, 2), jnp.linspace(0, 1, 65)
    exact = truth(of_end)(equation, few, Store())
    errors = [relative_error(truth(of_end)(equation, ts, Backsolve()), exact) for ts in (few, many)]
    assert errors[1] < errors[0]
