import jax
import jax.numpy as jnp
import optax
import pytest

from helpers import assert_close
from tenfold.base import fit


def test_gradient_descent_on_a_parabola_is_geometric(x64, getkey):
    """x <- (1 - 2 r) x, and the losses are those before each step; what is no float stays."""
    model = {"x": jnp.array([1.0, -2.0]), "n": jnp.arange(3), "name": "kept"}
    trained, losses = fit(
        lambda m, key: jnp.sum(m["x"] ** 2), model, optax.sgd(0.1), 5, key=getkey()
    )
    assert_close(trained["x"], 0.8**5 * model["x"])
    assert_close(losses, 5 * 0.8 ** (2 * jnp.arange(5.0)))
    assert trained["name"] == "kept"
    assert (trained["n"] == model["n"]).all()


def test_step_i_has_the_key_folded_with_i(getkey):
    key = getkey()
    _, noise = fit(lambda m, key: m + jax.random.normal(key), jnp.zeros(()), optax.sgd(0.0), 3,
                   key=key)  # fmt: skip
    expected = [jax.random.normal(jax.random.fold_in(key, i)) for i in range(3)]
    assert_close(noise, jnp.stack(expected))


def test_no_steps_are_refused(getkey):
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        fit(lambda m, key: m**2, jnp.ones(()), optax.sgd(0.1), 0, key=getkey())
