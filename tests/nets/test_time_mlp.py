import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import (
    FD_TOLERANCE,
    assert_close,
    assert_unbiased,
    count_primitives,
    finite_difference,
)
from tenfold.base import value_and_divergence, vmapped
from tenfold.nets import TimeLinear, TimeMLP

SIZE, WIDTH, BATCH = 5, 7, 4


@eqx.filter_jit
def net(key, **options):
    return TimeMLP(SIZE, WIDTH, **options, key=key)


def reference(model, t, y, activation, first):
    """The layout written out with concatenations, in numpy."""
    h = activation(y) if first else y
    for i, layer in enumerate(model.layers):
        h = activation(h) if i else h
        joint = np.concatenate([layer.weight, np.asarray(layer.time_weight)[:, None]], axis=1)
        h = joint @ np.append(h, t) + np.asarray(layer.bias)
    return h


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_layout_is_activation_then_time_then_linear(depth, first, x64, getkey):
    y = jax.random.normal(getkey(), (SIZE,))
    model = net(getkey(), depth=depth, activate_input=first, dtype=jnp.float64)
    assert_close(model(0.3, y), reference(model, 0.3, np.asarray(y), np.tanh, first))


def test_the_mnist_dynamics_have_the_papers_number_of_parameters(getkey):
    """Linear(785 -> 100) and Linear(101 -> 784), with biases."""
    model = jax.eval_shape(lambda key: TimeMLP(784, 100, key=key), getkey())
    count = sum(a.size for a in jax.tree.leaves(model))
    assert count == (785 * 100 + 100) + (101 * 784 + 784)


def test_the_activation_is_the_callers(x64, getkey):
    y = jax.random.normal(getkey(), (SIZE,))
    model = net(getkey(), activation=jax.nn.softplus)

    def softplus(a):
        return np.logaddexp(0, a)

    assert_close(model(0.3, y), reference(model, 0.3, np.asarray(y), softplus, True))


def test_a_batch_costs_one_dense_product_a_layer(getkey):
    model = net(getkey(), depth=2)
    y = jnp.ones((BATCH, SIZE))
    for batched in (jax.vmap(model, in_axes=(None, 0)), vmapped(model)):
        assert count_primitives(batched, 0.3, y)["dot_general"] == 3
    one_time_each = jax.vmap(model)
    assert count_primitives(one_time_each, jnp.ones(BATCH), y)["dot_general"] == 3


def test_a_batch_is_the_loop_over_its_examples(x64, getkey):
    model = net(getkey())
    y, t = jax.random.normal(getkey(), (BATCH, SIZE)), jnp.linspace(0.0, 1.0, BATCH)
    expected = jnp.stack([model(a, b) for a, b in zip(t, y, strict=True)])
    assert_close(jax.vmap(model)(t, y), expected)
    assert_close(vmapped(model, t_axis=0)(t, y), expected)


def test_the_state_keeps_its_dtype_whatever_the_time_is(x64, getkey):
    for dtype in (jnp.float32, jnp.float64):
        model, y = net(getkey(), dtype=dtype), jnp.ones(SIZE, dtype)
        at = model(0.5, y)
        assert at.dtype == dtype
        for t in (jnp.asarray(0.5, jnp.float32), jnp.asarray(0.5), np.float64(0.5)):
            assert_close(model(t, y), at)
            assert model(t, y).dtype == dtype
        assert model(1, y).dtype == dtype


def test_a_model_cast_to_float64_gives_the_same_field_more_precisely(x64, getkey):
    narrow = net(getkey(), dtype=jnp.float32)
    wide = jax.tree.map(lambda a: a.astype(jnp.float64), narrow)
    y = jax.random.normal(getkey(), (SIZE,))
    assert wide(0.3, y).dtype == jnp.float64
    assert_close(narrow(0.3, y.astype(jnp.float32)), wide(0.3, y).astype(jnp.float32))


def test_wrong_shapes_dtypes_and_sizes_are_refused_with_the_way_out(x64, getkey):
    model = net(getkey(), dtype=jnp.float32)
    for shape in ((BATCH, SIZE), (SIZE + 1,), ()):
        with pytest.raises(ValueError, match=r"one state of shape \(5,\), got .*vmap"):
            model(0.0, jnp.ones(shape, jnp.float32))
    with pytest.raises(ValueError, match=r"float32 but the state is float64: .*dtype=jnp.float64"):
        model(0.0, jnp.ones(SIZE))
    for sizes in ((0, 3, 1), (3, 0, 1), (3, 3, -1)):
        with pytest.raises(ValueError, match="size >= 1"):
            TimeMLP(*sizes, key=getkey())


def test_parameters_are_uniform_as_those_of_a_linear_layer_on_state_and_time(x64, getkey):
    """n = 20,000 weights: mean 0, variance 1/(3 (in + 1))."""
    layer = TimeLinear(99, 200, key=getkey())
    weights = jnp.concatenate([layer.weight, layer.time_weight[:, None]], axis=1)
    assert jnp.abs(weights).max() <= 0.1
    assert jnp.abs(layer.bias).max() <= 0.1
    assert_unbiased(weights, 0.0)
    assert_unbiased(weights**2, 0.01 / 3)


def test_layers_start_independent_and_the_same_key_gives_the_same_net(getkey):
    key = getkey()
    a, b = TimeMLP(6, 6, 2, key=key), TimeMLP(6, 6, 2, key=key)
    assert_close(a, b)
    assert not np.allclose(a.layers[0].weight, a.layers[1].weight)
    assert not np.allclose(a.layers[0].weight[:, 0], a.layers[0].bias)


def test_gradients_match_finite_differences(x64, getkey):
    model, y = net(getkey()), jax.random.normal(getkey(), (SIZE,))
    direction = jax.tree.map(lambda a: jnp.cos(1 + jnp.arange(a.size)).reshape(a.shape), model)

    @jax.jit
    def loss(model):
        return jnp.sum(model(0.3, y) ** 2)

    products = jax.tree.map(lambda g, v: jnp.sum(g * v), jax.grad(loss)(model), direction)
    along = sum(jax.tree.leaves(products))
    assert_close(along, finite_difference(loss, model, direction), FD_TOLERANCE)


def test_the_net_is_a_vector_field_for_diffrax_with_a_divergence(getkey):
    model = net(getkey())
    y = jnp.ones(SIZE)
    assert_close(diffrax.ODETerm(model).vf(0.3, y, None), model(0.3, y))
    jacobian = jax.jacrev(lambda y: model(0.3, y))(y)
    assert_close(value_and_divergence(model, 0.3, y)[1], jnp.trace(jacobian))
