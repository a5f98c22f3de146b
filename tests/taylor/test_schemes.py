"""The rival schemes give the same numbers; the online one takes the least dense work."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from helpers import assert_close, count_primitives
from tenfold.nets import TimeMLP
from tenfold.taylor import taylor_coefficients
from tenfold.taylor.baselines import (
    doubling_coefficients,
    nested_coefficients,
    restarted_coefficients,
)

LAYERS, ORDER = 3, 8
RIVALS = [nested_coefficients, restarted_coefficients, doubling_coefficients]


def field(t, z, net):
    return jax.vmap(net, (None, 0, None))(t, z, None)


@pytest.fixture(scope="module")
def bench():
    """The net of the brief: 64-128-128-64 with the time in every layer, batch 64."""
    net = TimeMLP(64, 128, LAYERS - 1, activate_input=False, key=jax.random.key(0))
    return net, jax.random.normal(jax.random.key(1), (64, 64))


def squared(net, z, scheme=taylor_coefficients, order=ORDER):
    return jnp.mean(scheme(field, 0.3, z, order, args=net)[order] ** 2)


@pytest.mark.parametrize("scheme", RIVALS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_rivals_agree_with_the_online_scheme(scheme, order, getkey, x64):
    """Coefficients of a time-dependent net on a pytree state, and their gradient."""
    net = TimeMLP(2, 5, key=getkey())
    z = {"a": jax.random.normal(getkey(), (2,)), "b": jax.random.normal(getkey(), (2,))}

    def f(t, z, args):
        return {"a": net(t, z["b"]), "b": net(t, z["a"]) * z["b"]}

    assert_close(scheme(f, 0.4, z, order), taylor_coefficients(f, 0.4, z, order))


def test_the_gradient_takes_three_products_a_layer_an_order(bench):
    """As traced: 24 forward, and 3 x 3 x 8 - 1 in the gradient: z itself needs none."""
    net, z = bench
    assert count_primitives(squared, net, z)["dot_general"] == LAYERS * ORDER
    gradient = count_primitives(eqx.filter_grad(squared), net, z)
    assert gradient["dot_general"] == 3 * LAYERS * ORDER - 1


@pytest.mark.slow
def test_the_compiled_gradient_has_71_dense_products(bench):
    """In XLA's program for the CPU: lines with ` dot(` and custom calls of a matmul."""
    text = jax.jit(jax.grad(squared)).lower(*bench).compile().as_text()
    lines = text.splitlines()
    dense = sum(" dot(" in x or bool(re.search(r"custom-call.*matmul", x)) for x in lines)
    assert dense == 71


def test_rivals_take_more(bench):
    """At order 4, as traced: nested JVPs 2^K - 1, restarted jets K (K + 1) / 2 or more."""
    net, z = bench
    dense = {
        scheme.__name__: count_primitives(
            lambda n, z, s=scheme: squared(n, z, s, 4), net, z
        )["dot_general"]
        for scheme in [taylor_coefficients, *RIVALS]
    }  # fmt: skip
    assert dense["taylor_coefficients"] == 4 * LAYERS
    assert dense["nested_coefficients"] >= (2**4 - 1) * LAYERS
    assert dense["restarted_coefficients"] >= 4 * 5 / 2 * LAYERS
