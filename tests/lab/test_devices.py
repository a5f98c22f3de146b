"""Two devices share a batch and give the gradient of one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close
from tenfold.lab import devices


@pytest.fixture
def mesh():
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    return devices.data_mesh()


@eqx.filter_jit
@eqx.filter_value_and_grad
def loss(net, x, y):
    return jnp.mean((jax.vmap(net)(x)[:, 0] - y) ** 2)


def problem(getkey, n=8):
    net = eqx.nn.MLP(3, 1, 4, 1, key=getkey())
    return net, jax.random.normal(getkey(), (n, 3)), jax.random.normal(getkey(), (n,))


def test_a_data_parallel_gradient_equals_that_of_one_device(mesh, getkey):
    net, x, y = problem(getkey)
    shared = eqx.filter(net, eqx.is_array)
    shared = eqx.combine(devices.replicate(shared, mesh), net)
    value, gradient = loss(shared, *devices.shard_batch((x, y), mesh))
    want, expected = loss(net, x, y)
    assert_close(value, want)
    assert_close(gradient, expected)


def test_a_batch_is_split_over_the_devices(mesh, getkey):
    x = devices.shard_batch(jax.random.normal(getkey(), (8, 3)), mesh)
    assert [shard.data.shape for shard in x.addressable_shards] == [(4, 3), (4, 3)]
    copies = devices.replicate(np.ones(3), mesh).addressable_shards
    assert [shard.data.shape for shard in copies] == [(3,), (3,)]


@pytest.mark.parametrize("shape", [(7, 3), (1,), ()])
def test_a_batch_that_does_not_divide_is_refused_with_its_shape(mesh, shape):
    with pytest.raises(
        ValueError, match=r"shard_batch: .* does not divide over 2 devices"
    ) as error:
        devices.shard_batch({"x": np.zeros((8, 2)), "y": np.zeros(shape)}, mesh)
    assert str(shape) in str(error.value)


def test_a_mesh_can_be_of_some_devices():
    assert devices.data_mesh(jax.devices()[:1]).size == 1


def test_one_process_joins_nothing(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_: pytest.fail("was called"))
    devices.initialize()
    devices.initialize("localhost:1", 1, 0)


def test_several_processes_join_the_coordinator(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *words: calls.append(words))
    devices.initialize("localhost:1", 2, 1)
    assert calls == [("localhost:1", 2, 1)]


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TENFOLD_CACHE", raising=False)
    assert devices.cache_folder() == tmp_path / "tenfold" / "xla"
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "mine"))
    assert devices.cache_folder() == tmp_path / "mine" / "xla"


def test_a_cpu_is_no_accelerator(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not devices.has_accelerator()
