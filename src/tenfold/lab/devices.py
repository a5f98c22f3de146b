"""Devices: the persistent compile cache, meshes, and many processes."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def cache_folder() -> Path:
    """`TENFOLD_CACHE`, or the user's cache folder, with `xla` below it."""
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TENFOLD_CACHE", f"{base}/tenfold")).expanduser() / "xla"


def enable_compile_cache() -> None:
    """Keeps compiled programs between processes: on two cores compiling is most of a small run.

    A function that holds a host callback can't be kept; that is why nothing here throws inside
    compiled code.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def has_accelerator() -> bool:
    """Whether JAX will find a GPU or TPU, told without starting it (no import of a backend)."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return False
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")
    return any(find_spec(name) for name in plugins)


def initialize(coordinator: str | None = None, processes: int = 1, process: int = 0) -> None:
    """Joins a run over several hosts (`jax.distributed`); does nothing for one process."""
    if processes > 1:
        jax.distributed.initialize(coordinator, processes, process)


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A one-dimensional mesh `data` over `devices` (all of them by default)."""
    chosen = list(devices) if devices is not None else jax.devices()
    # Auto: the default, Explicit, breaks eqx.filter_shard (jax 0.10.2).
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Splits the leading axis of every array over the mesh.

    **Raises:** `ValueError` when it doesn't divide by the number of devices.
    """
    for leaf in jax.tree.leaves(batch):
        if np.shape(leaf)[:1] == () or np.shape(leaf)[0] % mesh.size:
            raise ValueError(
                f"shard_batch: a leading axis of {np.shape(leaf)} does not divide over "
                f"{mesh.size} devices"
            )
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """A copy of every array on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
