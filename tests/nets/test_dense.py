import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tenfold.nets import BackwardGRU, Dense, DenseMLP, PerDimension


@pytest.mark.parametrize("net", [Dense(3, 4, key=jax.random.key(0)),
                                 DenseMLP(3, 4, 8, 2, key=jax.random.key(0))])  # fmt: skip
def test_leading_axes_are_a_batch(net, getkey):
    """Any leading axes: each row as if alone."""
    x = jax.random.normal(getkey(), (2, 5, 3))
    out = net(x)
    assert out.shape == (2, 5, 4)
    np.testing.assert_allclose(out[1, 2], net(x[1, 2]), rtol=1e-5)


def test_last_scale_shrinks_the_output(getkey):
    """Biases start at 0, so the output is proportional to the last layer's scale."""
    key, x = getkey(), jax.random.normal(getkey(), (7, 3))
    usual, small = (DenseMLP(3, 2, 8, last_scale=s, key=key)(x) for s in (1.0, 0.01))
    np.testing.assert_allclose(small, 0.01 * usual, rtol=1e-5)


def test_sizes_must_be_positive(getkey):
    """One message, with the sizes."""
    with pytest.raises(ValueError, match="sizes >= 1"):
        DenseMLP(3, 2, 0, key=getkey())


def test_per_dimension_net_has_a_diagonal_jacobian(x64, getkey):
    """Output i depends on input i alone."""
    net = PerDimension(4, 6, dtype=jnp.float64, key=getkey())
    jacobian = jax.jacobian(net)(jax.random.normal(getkey(), (4,)))
    np.testing.assert_array_equal(jacobian, jnp.diag(jnp.diag(jacobian)))
    assert bool(jnp.all(jnp.diag(jacobian) != 0))


def test_backward_gru_sees_the_future_only(getkey):
    """State i changes with entries i and later, not with earlier ones, nor with hidden ones."""
    gru, ts = BackwardGRU(2, 5, key=getkey()), jnp.array([0.0, 0.2, 0.3, 1.0])
    xs = jax.random.normal(getkey(), (3, 4, 2))
    mask = jnp.ones(xs.shape, bool).at[0, 3, 1].set(False)
    run = jax.jit(lambda xs: gru(xs, ts, mask))
    states = run(xs)
    assert states.shape == (4, 3, 5)
    early = run(xs.at[:, 1].set(9.0))
    np.testing.assert_array_equal(early[2:], states[2:])
    assert bool(jnp.all(early[1] != states[1]))
    np.testing.assert_array_equal(run(xs.at[0, 3, 1].set(jnp.nan)), states)
