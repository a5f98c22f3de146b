"""Data rooms: one module a data set, and what is where.

Importing this costs nothing: NumPy, SciPy, scikit-learn, Pillow and pooch are imported by the
loaders that need them, when they need them.
"""

import importlib
from typing import Any

from tenfold.lab.data._catalogue import FileCheck as FileCheck
from tenfold.lab.data._catalogue import Row as Row
from tenfold.lab.data._catalogue import check as check
from tenfold.lab.data._catalogue import fetch as fetch
from tenfold.lab.data._catalogue import names as names
from tenfold.lab.data._catalogue import rows as rows
from tenfold.lab.data._files import DataError as DataError
from tenfold.lab.data._find import Found as Found


def __getattr__(name: str) -> Any:
    if name in names():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
