"""What a gradient keeps in memory, as XLA compiles it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from sde.sde_problems import Scaled
from tenfold import sde

BATCH, D = 256, 4


def temporary_bytes(gradient, n):
    """Of the compiled gradient with n steps between two times."""
    equation = sde.SDE(
        Scaled(jnp.full(D, 0.1)), Scaled(jnp.full(D, 0.3)), noise="diagonal", kind="stratonovich"
    )

    def loss(equation, z0, key):
        ts = jnp.array([0.0, 1.0])
        return jnp.sum(sde.sdesolve(equation, z0, ts, key, substeps=n, gradient=gradient).zs[-1])

    lowered = eqx.filter_jit(eqx.filter_grad(loss)).lower(
        equation, jnp.ones((BATCH, D)), jax.random.key(0)
    )
    return lowered.compile().compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("gradient", [sde.Exact(), sde.Backsolve()])
def test_memory_does_not_grow_with_the_steps(gradient):
    """N = 1000 within 10 % of N = 100: 1000 states would be 4 MB."""
    few, many = temporary_bytes(gradient, 100), temporary_bytes(gradient, 1000)
    assert abs(many - few) < 0.1 * few


def test_stored_memory_grows_with_the_steps():
    few, many = temporary_bytes(sde.Store(), 100), temporary_bytes(sde.Store(), 1600)
    assert many / few > 8


def test_checkpointed_memory_grows_with_the_root_of_the_steps():
    """Sixteen times the steps, about four times the memory."""
    few, many = temporary_bytes(sde.Checkpoint(), 256), temporary_bytes(sde.Checkpoint(), 4096)
    assert 2 < many / few < 6


def test_kept_states_cost_the_memory_of_themselves():
    """z and y at every tenth step."""
    plain = temporary_bytes(sde.Exact(), 1000)
    kept = temporary_bytes(sde.Exact(anchor_every=10), 1000)
    states = 2 * 100 * BATCH * D * 4
    assert abs(kept - plain - states) < 0.5 * states
