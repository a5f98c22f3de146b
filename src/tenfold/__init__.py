"""tenfold: ten research methods as one JAX library.

Each method is a package of its own, imported when first used, so `import tenfold` costs nothing
and imports no JAX.
"""

import importlib
from typing import Any

from tenfold._papers import cite as cite

__version__ = "0.1.0"

_PACKAGES = frozenset({"base", "nets", "gran", "hollow", "lab", "sde", "sumo", "taylor"})


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"tenfold.{name}")
    raise AttributeError(f"module 'tenfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PACKAGES])
