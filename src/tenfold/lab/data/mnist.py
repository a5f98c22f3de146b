"""MNIST, 70,000 handwritten digits (LeCun, Cortes and Burges), from its four IDX files."""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from tenfold.lab.data._catalogue import file
from tenfold.lab.data._files import DataError, File, chosen
from tenfold.lab.data._find import locate
from tenfold.lab.data._hashes import content

Split = Literal["train", "test"]
COUNTS = {"train": 60_000, "test": 10_000}
_PREFIX = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8  # the IDX code of the only type that MNIST uses


@dataclass(frozen=True)
class Mnist:
    images: UInt8[np.ndarray, "n 28 28"]
    """Ink, 0 to 255; kept as bytes since floats of it all take 190 MB."""
    labels: Int32[np.ndarray, " n"]
    """The digit, 0 to 9."""

    def scaled(self, index: slice | np.ndarray = slice(None)) -> Float32[np.ndarray, "k 28 28"]:
        """The images at `index` in [0, 1]."""
        return self.images[index].astype(np.float32) / 255


def load(split: Split = "train") -> Mnist:
    """60,000 digits to train on or 10,000 to test on, in the official order.

    Source: TENFOLD_DATA, the cache or a download; the content's published MD5 is always checked.
    Raises DataError where the files are absent or damaged, ValueError for another split.
    """
    chosen(split, ("train", "test"))
    count, prefix = COUNTS[split], _PREFIX[split]
    images = _read(f"{prefix}-images-idx3-ubyte.gz", (count, 28, 28))
    labels = _read(f"{prefix}-labels-idx1-ubyte.gz", (count,)).astype(np.int32)
    if labels.max() > 9:
        raise DataError(f"the MNIST {split} labels go to {labels.max()}, expected 0 to 9")
    return Mnist(images, labels)


def _read(name: str, shape: tuple[int, ...]) -> np.ndarray:
    dataset, each = file("mnist", name)
    return read_idx(locate(dataset, each).path, each, shape)


def read_idx(path: Path, file: File, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an IDX file that must hold unsigned bytes of this `shape`; else DataError."""
    data = content(path, file)
    start = 4 + 4 * len(shape)
    if len(data) < start:
        raise DataError(f"{path} is truncated: {len(data)} bytes, its header alone has {start}")
    zeros, code, rank = struct.unpack(">HBB", data[:4])
    if (zeros, code, rank) != (0, _UNSIGNED_BYTE, len(shape)):
        expected = struct.pack(">HBB", 0, _UNSIGNED_BYTE, len(shape)).hex()
        raise DataError(f"{path} is not IDX of bytes: magic {data[:4].hex()}, expected {expected}")
    sizes = struct.unpack(f">{rank}I", data[4:start])
    if sizes != shape:
        raise DataError(f"{path} holds an array of shape {sizes}, expected {shape}")
    if len(data) != start + math.prod(shape):
        text = f"{len(data) - start} bytes of pixels or labels, expected {math.prod(shape)}"
        raise DataError(f"{path} is truncated or too long: {text}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
