import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture
def getkey():
    """A fresh key at each call; the same sequence in every test."""
    count = iter(range(1_000_000))
    return lambda: jax.random.fold_in(jax.random.key(2024), next(count))


@pytest.fixture
def x64():
    """Runs the test in double precision."""
    with jax.enable_x64(True):
        yield
