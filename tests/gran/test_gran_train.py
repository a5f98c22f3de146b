"""Batches of some steps: unbiased, of shapes that repeat, and divisible over devices."""

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import optax
import pytest
from graph_problems import random_graph
from jax.sharding import NamedSharding, PartitionSpec

from helpers import assert_close, assert_unbiased
from tenfold import gran
from tenfold.gran._batch import bucket, fit
from tenfold.gran._windows import windows

GRAPHS = [random_graph(n, 0.4, n) for n in (5, 8, 7, 6)]
value_and_grad = eqx.filter_jit(eqx.filter_value_and_grad(gran.loss))
loss = eqx.filter_jit(gran.loss)


def small(key, **options):
    sizes = {"hidden": 8, "rounds": 2, "mixtures": 3, "gate": 4, "max_block": 3}
    return gran.GRAN(8, key=key, **sizes, **options)


def test_windows_cover_the_rows():
    assert windows(7, 3, 3).tolist() == [0, 3, 6]
    assert windows(7, 3, 2).tolist() == [0, 2, 4]
    assert windows(3, 3, 1).tolist() == [0]
    assert windows(7, 2, 1, start=4).tolist() == [4, 5]
    assert windows(4, 2, 1, start=4).tolist() == []


def test_all_steps_give_the_mean_of_log_prob(x64, getkey):
    model = small(getkey(), dtype=jnp.float64)
    batch = gran.make_batch(model, GRAPHS, blocks=2, stride=1, steps_per_graph=None, key=getkey())
    each = [gran.log_prob(model, graph, ("dfs",), block=2, stride=1).value for graph in GRAPHS]
    assert_close(loss(model, batch), -sum(each) / 4)


def test_some_steps_give_the_loss_and_its_gradient_without_bias(x64, getkey):
    """300 batches of 2 steps of a graph beside all its steps; along a fixed direction."""
    model = small(getkey(), dtype=jnp.float64)
    params = eqx.filter(model, eqx.is_inexact_array)
    keys = iter(jax.random.split(getkey(), 100))
    v = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape, x.dtype), params)

    def along(batch):
        value, gradient = value_and_grad(model, batch)
        products = jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, v)
        return float(value), float(sum(jax.tree.leaves(products)))

    whole = gran.make_batch(model, GRAPHS[:2], steps_per_graph=None, key=getkey())
    value, slope = along(whole)
    some = [
        along(gran.make_batch(model, GRAPHS[:2], steps_per_graph=2, shapes=whole.shapes, key=key))
        for key in jax.random.split(getkey(), 300)
    ]
    values, slopes = np.array(some).T
    assert values.std() > 0.01
    assert_unbiased(values, value)
    assert_unbiased(slopes, slope)


def test_receivers_and_steps_are_sorted(getkey):
    batch = gran.make_batch(small(getkey()), GRAPHS, steps_per_graph=3, blocks=2, key=getkey())
    for name in ("receiver", "link_row", "pair_step", "row_step"):
        assert (np.diff(np.asarray(getattr(batch, name))) >= 0).all(), name


def test_shapes_are_few():
    assert [bucket(n) for n in (1, 2, 3, 5, 7, 100)] == [1, 2, 3, 6, 8, 128]
    first = gran.Shapes(2, 4, 4, 4, 10, 20, 30, 4)
    assert fit(first, first) == first
    assert fit(gran.Shapes(2, 4, 5, 4, 10, 20, 30, 4), first).edges == 29
    assert fit(gran.Shapes(2, 4, 8, 4, 10, 20, 30, 4), first).edges == 40


def test_a_training_compiles_once_for_each_shape(getkey):
    """40 batches of graphs of 4 to 8 nodes, of which 8 are drawn at a time."""
    model = small(getkey())
    graphs = [random_graph(4 + i % 5, 0.4, i) for i in range(20)]
    first = gran.make_batch(model, graphs[:8], steps_per_graph=3, key=getkey())
    rng = np.random.default_rng(0)
    seen = {first.shapes}
    for key in jax.random.split(getkey(), 40):
        some = [graphs[i] for i in rng.choice(20, 8, replace=False)]
        batch = gran.make_batch(model, some, steps_per_graph=3, shapes=first.shapes, key=key)
        seen.add(batch.shapes)
    assert len(seen) <= 3


def test_blocks_and_orders_are_drawn_from_what_is_given(getkey):
    model = small(getkey())
    some = [
        gran.make_batch(model, [nx.path_graph(8)], ("dfs", "degree"), blocks=(1, 2, 3), key=key)
        for key in jax.random.split(getkey(), 20)
    ]
    assert {int(batch.place.max()) for batch in some} == {1, 2, 3}
    one = gran.make_batch(model, [nx.path_graph(8)], blocks=np.int64(2), key=getkey())
    assert int(one.place.max()) == 2
    assert len({tuple(np.asarray(batch.link_column)) for batch in some}) == 2


def test_each_graph_keeps_its_condition_in_all_batches(getkey):
    """Paths of 2 to 5 nodes, whose condition is their number of nodes."""
    model = small(getkey(), condition_size=1)
    paths, told = [nx.path_graph(n) for n in range(2, 6)], [[2.0], [3.0], [4.0], [5.0]]
    for size in (2, 4):
        batches = gran.Batches(model, paths, size, conditions=told, key=getkey())
        for batch in map(batches, range(6)):
            nodes = np.bincount(batch.owner, minlength=size)[:size]
            assert np.array_equal(batch.condition[:size, 0], nodes)
        assert len({tuple(np.asarray(batches(i).condition[:size, 0])) for i in range(6)}) > 1


def test_shards_on_two_devices_give_the_loss_of_all(x64, getkey):
    model = small(getkey(), dtype=jnp.float64)
    together = gran.make_batch(model, GRAPHS, steps_per_graph=None, key=getkey())
    batch = gran.make_batch(model, GRAPHS, steps_per_graph=None, shards=2, key=getkey())
    mesh = jax.make_mesh((2,), ("graphs",), axis_types=(jax.sharding.AxisType.Auto,))
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("graphs")))
    model = jax.device_put(
        model, jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), model)
    )
    assert len(batch.sender.sharding.device_set) == 2
    assert_close(loss(model, batch), loss(model, together))


def test_a_few_steps_of_training_lower_the_loss(getkey):
    model = small(getkey(), condition_size=1)
    batch = gran.make_batch(
        model, GRAPHS, steps_per_graph=None, conditions=np.arange(4.0)[:, None], key=getkey()
    )
    optimiser = optax.adam(1e-2)
    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        value, gradient = eqx.filter_value_and_grad(gran.loss)(model, batch)
        with jax.numpy_dtype_promotion("standard"):  # Adam's bias correction mixes types
            updates, state = optimiser.update(gradient, state)
        return eqx.apply_updates(model, updates), state, value

    values = []
    for _ in range(30):
        model, state, value = step(model, state)
        values.append(float(value))
    assert values[-1] < 0.9 * values[0]


def test_bad_batches_are_refused(getkey):
    model = small(getkey())
    with pytest.raises(ValueError, match="`shards`=3"):
        gran.make_batch(model, GRAPHS, shards=3, key=getkey())
    with pytest.raises(ValueError, match="must not be empty"):
        gran.make_batch(model, [], key=getkey())
    with pytest.raises(ValueError, match="more than `n_max`=8"):
        gran.make_batch(model, [nx.path_graph(9)], key=getkey())
    with pytest.raises(ValueError, match="needs a node"):
        gran.make_batch(model, [nx.empty_graph(0)], key=getkey())
    with pytest.raises(ValueError, match="directed"):
        gran.make_batch(model, [nx.DiGraph([(0, 1)])], key=getkey())
    told = small(getkey(), condition_size=2)
    with pytest.raises(ValueError, match=r"`conditions` must have shape \(2, 2\).*got \(2,\)"):
        gran.make_batch(told, GRAPHS[:2], conditions=[0.3, -1.0], key=getkey())
    with pytest.raises(ValueError, match=r"`conditions` must have shape \(4, 2\).*got \(1, 2\)"):
        gran.Batches(told, GRAPHS, 2, conditions=[[0.3, -1.0]], key=getkey())
    with pytest.raises(ValueError, match=r"`conditions` must have shape \(4, 0\).*got \(4, 1\)"):
        gran.Batches(model, GRAPHS, 2, conditions=np.ones((4, 1)), key=getkey())
    with pytest.raises(ValueError, match="got 2, 0 and 0 graphs"):
        gran.Batches(model, [], 2, key=getkey())
