"""CIFAR-10, 60,000 colour photographs in ten classes (Krizhevsky, 2009)."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from tenfold.lab.data._archives import tar_members, zip_members
from tenfold.lab.data._catalogue import file
from tenfold.lab.data._decoded import Arrays, kept
from tenfold.lab.data._files import DataError, DataSet, File, chosen
from tenfold.lab.data._find import in_folder, locate, where

Split = Literal["train", "test"]
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
COUNTS = {"train": 50_000, "test": 10_000}
_BATCHES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
_PIXELS = 3 * 32 * 32
_BINARY = "cifar-10-binary.tar.gz"
_PICKLED = "cifar-10-python.tar.gz"
_JPEG_BYTES = 1 << 16  # an image of 32 x 32 pixels has about 1 kB


@dataclass(frozen=True)
class Cifar10:
    images: UInt8[np.ndarray, "n 3 32 32"]
    """Red, green and blue, 0 to 255; kept as bytes since floats of it all take 614 MB."""
    labels: Int32[np.ndarray, " n"]
    """Index into `CLASSES`."""
    source: Literal["binary", "jpeg"]
    """`jpeg`: re-encoded, so pixels differ a little: say 'CIFAR-10 (JPEG)' beside an accuracy."""

    def scaled(self, index: slice | np.ndarray = slice(None)) -> Float32[np.ndarray, "k 3 32 32"]:
        """The images at `index` in [0, 1]."""
        return self.images[index].astype(np.float32) / 255


def load(split: Split = "train") -> Cifar10:
    """50,000 photographs to train on or 10,000 to test on, classes mixed.

    The official binary form comes in its own order; the JPEG form (`train.zip`, `test.zip`, in
    TENFOLD_DATA only), which is sorted by class, in a fixed shuffled one. Decoding JPEGs takes
    some 10 s, once: the arrays are kept in the cache. Source: TENFOLD_DATA, the cache or a
    download whose published MD5 is checked. Raises DataError where the files are absent or
    damaged, ValueError for another split.
    """
    chosen(split, ("train", "test"))
    dataset, binary = file("cifar10", _BINARY)
    zipped = in_folder(*file("cifar10", f"{split}.zip"))
    if zipped and not in_folder(dataset, binary):
        found = locate(*file("cifar10", f"{split}.zip"))
        arrays = kept(f"cifar10-{split}-jpeg1", found.digest, lambda: _jpegs(zipped, split))
        return Cifar10(arrays["images"], arrays["labels"], "jpeg")
    if where(dataset, binary) is None:
        _refuse_pickle(dataset)
    return _from_binary(locate(dataset, binary).path, split)


def _refuse_pickle(dataset: DataSet) -> None:
    if path := in_folder(dataset, File(_PICKLED, 0)):
        text = "a pickle runs whatever it says, so this form isn't read"
        raise DataError(f"{path}: {text}; put {_BINARY} beside it, from the same official page")


def _from_binary(path: Path, split: Split) -> Cifar10:
    wanted = _BATCHES[split]
    rows = COUNTS[split] // len(wanted)
    size = rows * (1 + _PIXELS)
    batches: dict[str, np.ndarray] = {}
    for name, data in tar_members(path, most=COUNTS["train"] // 5 * (1 + _PIXELS)):
        short = name.rsplit("/", 1)[-1]
        if short in wanted:
            if len(data) != size:
                raise DataError(f"{path}: {name} has {len(data)} bytes, expected {size}")
            batches[short] = np.frombuffer(data, np.uint8).reshape(rows, 1 + _PIXELS)
    if missing := [name for name in wanted if name not in batches]:
        raise DataError(f"{path} lacks {', '.join(missing)}")
    table = np.concatenate([batches[name] for name in wanted])
    labels = _labels(path, table[:, 0])
    return Cifar10(table[:, 1:].reshape(-1, 3, 32, 32), labels, "binary")


def _labels(path: Path, labels: np.ndarray) -> np.ndarray:
    if labels.max() >= len(CLASSES):
        raise DataError(f"{path}: labels go to {labels.max()}, expected 0 to {len(CLASSES) - 1}")
    return labels.astype(np.int32)


def _jpegs(path: Path, split: Split) -> Arrays:
    images, labels = [], []
    for name, data in zip_members(path, most=_JPEG_BYTES):
        kind = name.split("/", 1)[0]
        if kind not in CLASSES:
            raise DataError(f"{path}: {name!r} is in none of the ten classes' folders")
        images.append(_jpeg(path, name, data))
        labels.append(CLASSES.index(kind))
    if len(images) != COUNTS[split]:
        raise DataError(f"{path} holds {len(images)} images, expected {COUNTS[split]}")
    # Sorted by class as they come, their first thousand would be nothing but airplanes.
    order = np.random.default_rng(0).permutation(len(images))
    stacked = np.stack(images)[order].transpose(0, 3, 1, 2)
    return {
        "images": np.ascontiguousarray(stacked),
        "labels": np.array(labels, np.int32)[order],
    }


def _jpeg(path: Path, name: str, data: bytes) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.size == (32, 32):
                return np.asarray(image.convert("RGB"))
            size = image.size
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: {name} is no whole JPEG: {error}") from error
    raise DataError(f"{path}: {name} is of {size} pixels, expected (32, 32)")
