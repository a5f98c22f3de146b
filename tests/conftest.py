import os
import shutil
from pathlib import Path

# Most of a test's time is XLA's compiling. Programs that run once in a test need no optimising:
# with these the suite takes little more than half the time. Tests that compare bits between
# programs are marked `bits` and wait for a run with XLA_FLAGS='' (`make test` does both).
QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK_TO_COMPILE))

# Compiled programs are kept, for the other worker of pytest-xdist and for the next run.
PROGRAMS = Path(__file__).parents[1] / ".pytest_cache" / "programs"
MANY_PROGRAMS = 100_000
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROGRAMS))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.03")

import jax  # noqa: E402
import pytest  # noqa: E402

MAPS = Path("/proc/self/maps")
MANY_MAPS = 30_000  # Linux allows a process 65,530

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 2)


def pytest_sessionstart(session):
    """Programs of code that has changed since are never asked for again: they go in time."""
    first = not hasattr(session.config, "workerinput")
    if first and PROGRAMS.exists() and len(os.listdir(PROGRAMS)) > MANY_PROGRAMS:
        shutil.rmtree(PROGRAMS)


def pytest_collection_modifyitems(items):
    if os.environ["XLA_FLAGS"] == " ".join(QUICK_TO_COMPILE):
        for item in items:
            if item.get_closest_marker("bits"):
                item.add_marker(pytest.mark.skip("XLA must optimise: run with XLA_FLAGS=''"))


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


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Each compiled program keeps memory maps of its own: after thousands of them the next one
    fails with "Cannot allocate memory", and takes the process along. So they go in time."""
    yield
    if MAPS.exists() and MAPS.read_text().count("\n") > MANY_MAPS:
        jax.clear_caches()
