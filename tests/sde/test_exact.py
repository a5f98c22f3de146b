"""The gradient of reversible Heun without its memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import TOLERANCE
from sde.gradient_problems import (
    CASES,
    SUBSTEPS,
    TS,
    Cost,
    gradients,
    loss,
    path,
    relative_error,
    trained,
)
from sde.sde_problems import GBM
from tenfold import sde
from tenfold.sde import Exact, Store


class WithNoise(eqx.Module):
    """A rate, and an Ito integral beside it."""

    rate: Cost

    def __call__(self, t, z, f, g, args):
        return sde.Rates(self.rate(t, z, f, g, args), jnp.sin(f) * g)


@pytest.mark.parametrize(("noise", "kind"), CASES)
def test_exact_gradient_equals_backpropagation_through_the_same_scheme(noise, kind, x64):
    """All noise types, both calculi: fields, cost, args, context and z0, losses at uneven times."""
    p = trained(noise, kind)
    assert relative_error(gradients(p, Exact()), gradients(p, Store())) < TOLERANCE["float64"]


@pytest.mark.parametrize(
    ("noise", "kind", "restart", "context"),
    [
        (*CASES[0], True, False),
        (*CASES[3], False, False),
        (*CASES[6], True, False),
        (*CASES[1], False, True),
    ],
)
def test_exact_gradient_without_context_or_restart_equals_backpropagation(
    noise, kind, restart, context, x64
):
    """One run of steps over all intervals where there is neither, in chunks with a remainder."""
    p = trained(noise, kind, context=context)
    options = {"substeps": 11, "method": sde.ReversibleHeun(restart)}
    exact, stored = gradients(p, Exact(), **options), gradients(p, Store(), **options)
    assert relative_error(exact, stored) < TOLERANCE["float64"]


@pytest.mark.parametrize("noise", ["diagonal", "general"])
def test_exact_gradient_in_float32_is_off_by_rounding(noise):
    """Against backpropagation in float32; both round."""
    p = trained(noise, "stratonovich", jnp.float32)
    assert relative_error(gradients(p, Exact()), gradients(p, Store())) < TOLERANCE["float32"]


@pytest.mark.parametrize(("context", "restart"), [(True, True), (False, False)])
def test_kept_states_leave_the_gradient_as_it_is(context, restart, x64):
    p, method = trained("diagonal", "ito", context=context), sde.ReversibleHeun(restart)
    kept = gradients(p, Exact(anchor_every=SUBSTEPS), method=method)
    assert relative_error(kept, gradients(p, Exact(), method=method)) < TOLERANCE["float64"]


def test_exact_gradient_of_an_ito_integral_in_the_cost_equals_backpropagation(x64):
    """`Rates`: the integrand sits at the left end of a step, and the scheme at both."""
    p = trained("diagonal", "stratonovich")
    p["cost"] = WithNoise(p["cost"])
    assert relative_error(gradients(p, Exact()), gradients(p, Store())) < TOLERANCE["float64"]


def test_gradient_is_the_same_under_jit_vmap_and_in_any_order_of_grad(x64):
    """jit of grad, grad of jit, vmap over z0 and keys of grad, grad of vmap, and one by one."""
    equation, ts = GBM.sde(), jnp.array([0.0, 0.3, 1.0])
    keys, starts = jax.random.split(jax.random.key(1), 2), jnp.array([[1.5], [0.5]])

    def of_start(z0, key):
        return jnp.sum(sde.sdesolve(equation, z0, ts, key, substeps=3).zs ** 2)

    def both(z, k):
        return jnp.sum(jax.vmap(of_start)(z, k))

    one = jnp.stack([jax.grad(of_start)(z, k) for z, k in zip(starts, keys, strict=True)])
    ways = {
        "jit of grad": jax.jit(jax.grad(of_start))(starts[0], keys[0])[None],
        "grad of jit": jax.grad(jax.jit(of_start))(starts[0], keys[0])[None],
        "vmap of grad": jax.vmap(jax.grad(of_start))(starts, keys),
        "grad of vmap": jax.grad(both)(starts, keys),
    }
    for name, found in ways.items():
        np.testing.assert_allclose(found, one[: len(found)], rtol=1e-12, err_msg=name)


def test_second_derivatives_through_the_backward_pass_equal_those_through_a_stored_solve(x64):
    """Reverse over reverse: the backward pass is JAX code like any other."""
    p = trained("diagonal", "stratonovich")

    def along(gradient):
        def total(z0):
            return jnp.sum(jax.grad(lambda z: loss({**p, "z0": z}, gradient))(z0) ** 2)

        return jax.jit(jax.grad(total))(p["z0"])

    assert relative_error(along(Exact()), along(Store())) < TOLERANCE["float64"]


def test_a_step_of_reversible_heun_can_be_undone(x64):
    """At every one of the times, for every noise type: what comes back is what was."""
    for noise in ("diagonal", "scalar", "additive", "general"):
        p = trained(noise, "ito")
        gap = sde.reconstruction_error(
            p["sde"],
            p["z0"],
            jnp.asarray(TS),
            path(p),
            args=p["args"],
            context=p["context"],
            substeps=SUBSTEPS,
        )
        assert gap.shape == (len(TS),)
        assert float(jnp.max(gap)) < 1e-13
