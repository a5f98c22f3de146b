"""Tables of continuous columns for density estimation: split by rows, standardised."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

Split = Literal["train", "val", "test"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Table:
    values: Float32[np.ndarray, "n d"]
    """Rows of columns of mean 0 and standard deviation 1 over all rows but the test's."""


def part_of(rows: np.ndarray, split: Split) -> Table:
    """The last tenth of the rows is for the test, the last tenth of the rest for validation."""
    rest = len(rows) - len(rows) // 10
    train = rest - rest // 10
    mean, scale = rows[:rest].mean(0), rows[:rest].std(0)
    chosen = {"train": rows[:train], "val": rows[train:rest], "test": rows[rest:]}[split]
    return Table(((chosen - mean) / scale).astype(np.float32))
