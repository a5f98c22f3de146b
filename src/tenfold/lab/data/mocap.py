"""CMU motion capture, subject 35 walking, as in the latent ODE and latent SDE papers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from tenfold.lab.data._catalogue import file
from tenfold.lab.data._files import DataError, chosen
from tenfold.lab.data._find import locate

Split = Literal["train", "val", "test"]
SHAPES = {"train": (16, 300, 50), "val": (3, 300, 50), "test": (4, 300, 50)}
_VARIABLES = {"train": "Xtr", "val": "Xval", "test": "Xtest"}


@dataclass(frozen=True)
class Mocap:
    series: Float32[np.ndarray, "n 300 50"]
    """Joint angles by series and frame, in the file's own scale; frames are evenly spaced."""


def load(split: Split = "train") -> Mocap:
    """16 walks to train on, 3 to validate or 4 to test on, each of 300 frames of 50 angles.

    Source: `mocap/mocap35.mat` in TENFOLD_DATA (the file of ODE2VAE, Yildiz and others, 2019);
    it has no lasting official address, so nothing is downloaded. Raises DataError where the file
    is absent or damaged, ValueError for another split.
    """
    chosen(split, ("train", "val", "test"))
    return Mocap(_read(locate(*file("mocap", "mocap35.mat")).path, split))


def _read(path: Path, split: Split) -> np.ndarray:
    from scipy.io import loadmat

    variable = _VARIABLES[split]
    try:
        values = loadmat(path, variable_names=[variable])[variable]
    except KeyError as error:
        raise DataError(f"{path} lacks the variable {variable}") from error
    except Exception as error:  # whatever SciPy's parser trips over in a damaged file
        raise DataError(f"{path} is truncated or corrupt: {error}") from error
    if values.shape != SHAPES[split] or values.dtype.kind != "f":
        text = f"{variable} is {values.dtype}{list(values.shape)}"
        raise DataError(f"{path}: {text}, expected floats of shape {SHAPES[split]}")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {variable} has values that are not finite")
    return values.astype(np.float32)
