import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from tenfold.lab import metrics


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 5))
    return logits, rng.integers(5, size=200)


def softmax(logits):
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def test_accuracy_and_cross_entropy_equal_sklearns(predictions):
    logits, labels = predictions
    assert metrics.accuracy(logits, labels) == accuracy_score(labels, logits.argmax(axis=1))
    want = log_loss(labels, softmax(logits), labels=range(5))
    assert metrics.cross_entropy(logits, labels) == pytest.approx(want, rel=1e-12)


def test_cross_entropy_of_equal_logits_is_the_log_of_the_classes():
    assert metrics.cross_entropy(np.full((3, 4), 7.0), [0, 1, 2]) == pytest.approx(np.log(4))


def test_cross_entropy_does_not_overflow():
    logits = [[1e4, 0.0], [-np.inf, 3.0]]
    assert metrics.cross_entropy(logits, [0, 1]) == 0
    assert metrics.cross_entropy(logits, [1, 1]) == pytest.approx(5e3)


@pytest.mark.parametrize("levels", [2, 7, 10_000])
def test_auroc_equals_sklearns_also_with_ties(levels):
    rng = np.random.default_rng(levels)
    scores, labels = rng.integers(levels, size=300) / levels, rng.integers(2, size=300)
    want = roc_auc_score(labels, scores)
    assert metrics.auroc(scores, labels) == pytest.approx(want, rel=1e-12)
    assert metrics.auroc(scores, labels == 1) == metrics.auroc(scores, labels)


def test_auroc_is_the_share_of_pairs_in_order():
    scores, labels = np.array([3.0, 1.0, 1.0, 2.0, -np.inf]), np.array([1, 1, 0, 0, 0])
    pairs = [(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    assert metrics.auroc(scores, labels) == pytest.approx(np.mean(pairs))
    assert metrics.auroc(-scores, labels) == pytest.approx(1 - np.mean(pairs))


def test_ece_is_zero_when_confidence_is_accuracy():
    shares = np.tile([0.75, 0.25], (4, 1))
    assert metrics.ece(shares, [0, 0, 0, 1]) == pytest.approx(0)
    assert metrics.ece(shares, [1, 1, 1, 1]) == pytest.approx(0.75)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_equals_a_sum_over_bins(predictions, bins):
    logits, labels = predictions
    shares = softmax(logits)
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    total = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.ece(shares, labels, bins) == pytest.approx(total, rel=1e-12)


GOOD, LABELS = np.eye(3), np.arange(3)


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.cross_entropy, metrics.ece])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (GOOD[0], LABELS, r"\(3,\)"),
        (GOOD, LABELS[:2], r"\(2,\)"),
        (np.empty((0, 3)), LABELS[:0], "n > 0"),
        (np.full((3, 3), np.nan), LABELS, "3 rows hold NaN"),
        (GOOD, LABELS + 1, "3 classes"),
        (GOOD, -LABELS, "reach from -2"),
        (GOOD, LABELS / 2, "integers"),
    ],
)
def test_wrong_input_is_refused_by_its_shape_or_value(metric, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (GOOD, LABELS, r"\(3, 3\)"),
        (GOOD[0], LABELS[:2], r"\(2,\)"),
        (np.empty(0), np.empty(0), r"\(0,\)"),
        ([np.nan, 1.0], [0, 1], "1 scores are NaN"),
        ([0.0, 1.0], [1, 2], "0 or 1"),
        ([0.0, 1.0], [1, 1], "0 negatives"),
    ],
)
def test_auroc_refuses_wrong_input(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.auroc(scores, labels)


def test_ece_refuses_logits_and_no_bins():
    with pytest.raises(ValueError, match="logits"):
        metrics.ece(GOOD * 5, LABELS)
    with pytest.raises(ValueError, match="bins = 0"):
        metrics.ece(GOOD, LABELS, bins=0)


def test_cross_entropy_refuses_rows_without_a_finite_logit():
    with pytest.raises(ValueError, match="finite"):
        metrics.cross_entropy([[-np.inf, -np.inf]], [0])
