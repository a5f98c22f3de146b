"""The 1,797 handwritten digits that scikit-learn embeds (UCI ML, Alpaydin and Kaynak, 1998)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int32

from tenfold.lab.data._files import DataError, chosen

Split = Literal["train", "test"]
TEST = 360
"""Images held out, a fifth."""


@dataclass(frozen=True)
class Digits:
    images: Float32[np.ndarray, "n 64"]
    """8 x 8 pixels in row order, ink in [0, 1]."""
    labels: Int32[np.ndarray, " n"]
    """The digit, 0 to 9."""


def load(split: Split = "train", seed: int = 0) -> Digits:
    """1,437 images to train on or 360 to test on, shuffled and split by `seed` alone.

    Source: scikit-learn's `load_digits`, which is part of that package. Raises DataError where
    scikit-learn is missing, ValueError for another split.
    """
    chosen(split, ("train", "test"))
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        text = "digits come with scikit-learn, which is missing: pip install 'tenfold[lab]'"
        raise DataError(text) from error
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    index = order[:TEST] if split == "test" else order[TEST:]
    images = (np.asarray(pixels)[index] / 16).astype(np.float32)  # ink is counted 0 to 16
    return Digits(images, np.asarray(labels)[index].astype(np.int32))
