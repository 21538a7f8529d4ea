"""How far guesses agree with the truth: F1, Matthews' correlation, Spearman's rank correlation.

Each comes with what guessing gives, so that a score can be read beside it.

Source: the metrics of GLUE (Wang et al. 2019), as Tschannen et al. 2023 use them in Tables 2, 5, 8.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


def f1(predictions: Int[np.ndarray, " items"], labels: Int[np.ndarray, " items"]) -> float:
    """The harmonic mean of precision and recall of class 1 (of 0 and 1); 0 without a hit.

    Ties: none, predictions are already decided.

    Raises:
        ValueError: lengths differ, there is no item, or something is neither 0 nor 1.
    """
    predictions, labels = _binary(predictions, labels)
    hits = int((predictions & labels).sum())
    return 2 * hits / max(1, int(predictions.sum() + labels.sum()))


def matthews(predictions: Int[np.ndarray, " items"], labels: Int[np.ndarray, " items"]) -> float:
    """Matthews' correlation of two classes: Pearson's of zeros and ones, from -1 to 1.

    Where predictions or labels are all of one class it is 0, as in scikit-learn.

    Raises:
        ValueError: lengths differ, there is no item, or something is neither 0 nor 1.
    """
    return _correlation(*(side.astype(float) for side in _binary(predictions, labels)))


def spearman(scores: Float[np.ndarray, " items"], targets: Float[np.ndarray, " items"]) -> float:
    """Spearman's correlation: Pearson's of the ranks, from -1 to 1.

    Ties share their mean rank. Where scores or targets are all alike it is 0, which knows nothing.

    Raises:
        ValueError: lengths differ, there is no item, or something is not finite.
    """
    scores, targets = _vectors(scores, targets)
    if not (np.isfinite(scores).all() and np.isfinite(targets).all()):
        raise ValueError("expected finite scores and targets, got NaN or infinity; check the model")
    return _correlation(stats.rankdata(scores), stats.rankdata(targets))


def guessed_accuracy(labels: Int[np.ndarray, " items"]) -> float:
    """Accuracy of naming the most frequent class always."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def guessed_f1(labels: Int[np.ndarray, " items"]) -> float:
    """F1 of saying 1 always: 2 p / (1 + p) where a share p of the labels is 1."""
    return f1(np.ones_like(labels), labels)


def guessed_correlation(labels: Float[np.ndarray, " items"]) -> float:
    """Correlation of an answer that is always the same: 0."""
    return 0.0


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((first @ first) * (second @ second)))
    return float(np.clip(first @ second / spread, -1, 1)) if spread > 0 else 0.0


def _binary(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predictions, labels = _vectors(predictions, labels)
    for side in (predictions, labels):
        if not np.isin(side, (0, 1)).all():
            raise ValueError(f"expected classes 0 and 1, got {np.unique(side)[:4].tolist()}")
    return predictions.astype(bool), labels.astype(bool)


def _vectors(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"expected two vectors of one length, at least 1; got {first.shape} and {second.shape}"
        )
    return first, second
