"""Scores of predictions, in numpy on the host: accuracy, cross-entropy, AUROC, calibration."""

import numpy as np
from numpy.typing import ArrayLike


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """The share of rows whose largest logit is the label's. *Host.*

    **Arguments:** `logits` (n, classes), or probabilities; `labels` (n,) integers. Ties go to the
    first class.

    **Raises:** `ValueError` for wrong shapes, labels out of range, NaN.
    """
    scores, classes = _classified("accuracy", logits, labels)
    return float(np.mean(np.argmax(scores, axis=1) == classes))


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log softmax(logits)[label], in nats. *Host.*

    **Arguments:** `logits` (n, classes), where -inf means impossible; `labels` (n,) integers.

    **Raises:** `ValueError` for wrong shapes, labels out of range, NaN.
    """
    scores, classes = _classified("cross_entropy", logits, labels)
    top = scores.max(axis=1)
    if not np.isfinite(top).all():
        raise ValueError("cross_entropy: each row of logits needs a finite largest value")
    log_normaliser = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return float(np.mean(log_normaliser - scores[np.arange(len(classes)), classes]))


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: P(a positive scores above a negative) + P(they tie) / 2. *Host.*

    **Arguments:** `scores` (n,), higher for positives; infinities are allowed. `labels` (n,), 0
    or 1 (or booleans), with at least one of each.

    **Raises:** `ValueError` for wrong shapes, other labels, one class only, NaN.
    """
    values, classes = _vector("auroc", scores), np.asarray(labels)
    if classes.shape != values.shape or not values.size:
        raise ValueError(
            f"auroc: scores {values.shape} and labels {classes.shape} must both be (n,)"
        )
    if not np.isin(classes, (0, 1)).all():
        raise ValueError("auroc: labels must be 0 or 1")
    positive = classes.astype(bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise ValueError(f"auroc: {positives} positives and {negatives} negatives; both are needed")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    midranks = np.cumsum(count) - (count - 1) / 2  # tied scores share the mean of their ranks
    above = midranks[place][positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: mean over rows of their bin's |accuracy - confidence|. *Host.*

    Rows are binned by their largest probability into `bins` intervals (i / bins, (i + 1) / bins]
    (Guo et al. 2017, equation 3).

    **Arguments:** `probabilities` (n, classes), rows that sum to 1; `labels` (n,) integers.

    **Raises:** `ValueError` for wrong shapes, labels out of range, NaN, rows that are no
    distribution, `bins` < 1.
    """
    shares, classes = _classified("ece", probabilities, labels)
    if bins < 1:
        raise ValueError(f"ece: bins = {bins}; at least 1 is needed")
    if shares.min() < 0 or not np.allclose(shares.sum(axis=1), 1, atol=1e-3):
        raise ValueError(
            "ece: each row of probabilities must be >= 0 and sum to 1; are these logits?"
        )
    confidence = shares.max(axis=1)
    right = np.argmax(shares, axis=1) == classes
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(classes))


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """2 E|A - B| - E|A - A'| - E|B - B'| of rows, |.| the root mean square over entries. *Host.*

    Unbiased, so it may be below 0; its mean is 0 if and only if both have one law. Székely and
    Rizzo, 2013.

    **Arguments:** `a` (n, ...) and `b` (m, ...): samples, of any shape but the same.
    """
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))

    def apart(x: np.ndarray, y: np.ndarray, pairs: int) -> float:
        squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
        return float(np.sqrt(np.maximum(squares, 0) / x.shape[1]).sum() / pairs)

    n, m = len(a), len(b)
    within = apart(a, a, n * (n - 1)) + apart(b, b, m * (m - 1))
    return 2 * apart(a, b, n * m) - within


def _classified(name: str, scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    table, classes = np.asarray(scores, np.float64), np.asarray(labels)
    if table.ndim != 2 or classes.shape != table.shape[:1] or not table.size:
        raise ValueError(
            f"{name}: expected scores (n, classes) and labels (n,), n > 0; "
            f"got {table.shape} and {classes.shape}"
        )
    if np.isnan(table).any():
        raise ValueError(f"{name}: {int(np.isnan(table).any(axis=1).sum())} rows hold NaN")
    if not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"{name}: labels must be integers, not {classes.dtype}")
    if classes.min() < 0 or classes.max() >= table.shape[1]:
        raise ValueError(
            f"{name}: labels reach from {classes.min()} to {classes.max()}, "
            f"but there are {table.shape[1]} classes"
        )
    return table, classes


def _vector(name: str, scores: ArrayLike) -> np.ndarray:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name}: scores must be (n,), not {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"{name}: {int(np.isnan(values).sum())} scores are NaN")
    return values
