"""30 measures of 569 cell nuclei that scikit-learn embeds (Wisconsin, Street and others, 1993)."""

import numpy as np

from tenfold.lab.data._files import DataError, chosen
from tenfold.lab.data._tables import SPLITS, Split, Table, part_of


def load(split: Split = "train", seed: int = 0) -> Table:
    """462 rows to train on, 51 to validate or 56 to test on, of 30 columns, shuffled by `seed`.

    Standardised logarithms, as the measures are positive and skewed. Source: scikit-learn's
    `load_breast_cancer`, which is part of that package. Raises DataError where scikit-learn is
    missing, ValueError for another split.
    """
    chosen(split, SPLITS)
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        text = "breast_cancer comes with scikit-learn, which is missing: pip install 'tenfold[lab]'"
        raise DataError(text) from error
    rows, _ = load_breast_cancer(return_X_y=True)
    # Concavity is 0 in some; a hundredth is small beside its mean of a tenth.
    rows = np.log(np.asarray(rows) + 0.01)
    return part_of(np.random.default_rng(seed).permutation(rows), split)
