"""Keeps what was slow to decode (JPEGs, thousands of text files) as .npz in the cache."""

import contextlib
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tenfold.lab.data._files import DataError, cache_folder, write_whole

Arrays = dict[str, np.ndarray]


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # absent or damaged: it is only a copy, made anew below


def kept(name: str, digest: str, make: Callable[[], Arrays]) -> Arrays:
    """`make()`, or what it gave the last time for content of this digest.

    `name` should say the version of the decoding. A cache that can't be written keeps nothing.
    """
    try:
        path = cache_folder() / "decoded" / f"{name}-{digest[:32]}.npz"
    except DataError:
        return make()
    found = _read(path)
    if found is not None:
        return found
    arrays = make()
    with contextlib.suppress(OSError):
        write_whole(path, partial(np.savez, **arrays))
    return arrays
