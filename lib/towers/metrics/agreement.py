"""How far guesses agree with the truth: F1, Pearson, Matthews' and Spearman's correlations.

Each comes with what guessing gives, so that a score can be read beside it. They are a few sums, for
bootstraps ask them thousands of times, where scikit-learn's checks would take most of the time.

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
    return float(2 * predictions @ labels / max(1, predictions.sum() + labels.sum()))


def matthews(predictions: Int[np.ndarray, " items"], labels: Int[np.ndarray, " items"]) -> float:
    """Matthews' correlation of two classes: Pearson's of zeros and ones, from -1 to 1.

    Where predictions or labels are all of one class it is 0, as in scikit-learn.

    Raises:
        ValueError: lengths differ, there is no item, or something is neither 0 nor 1.
    """
    return pearson(*_binary(predictions, labels))


def spearman(scores: Float[np.ndarray, " items"], targets: Float[np.ndarray, " items"]) -> float:
    """Spearman's correlation: Pearson's of the ranks, from -1 to 1.

    Ties share their mean rank. Where scores or targets are all alike it is 0, which knows nothing.

    Raises:
        ValueError: lengths differ, there is no item, or something is not finite.
    """
    return pearson(*map(stats.rankdata, _finite(scores, targets)))


def pearson(first: Float[np.ndarray, " items"], second: Float[np.ndarray, " items"]) -> float:
    """Pearson's correlation, from -1 to 1; 0 where one of both does not vary but by rounding.

    Raises:
        ValueError: lengths differ, there is no item, or something is not finite.
    """
    sides = _finite(first, second)
    if any(np.ptp(side) <= np.finfo(float).eps * np.abs(side).max() for side in sides):
        return 0.0
    first, second = (side - side.mean() for side in sides)
    spreads = np.linalg.norm(first), np.linalg.norm(second)
    return float(np.clip(first @ second / np.prod(spreads), -1, 1))


def guessed_accuracy(labels: Int[np.ndarray, " items"]) -> float:
    """Accuracy of naming the most frequent class always."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def guessed_f1(labels: Int[np.ndarray, " items"]) -> float:
    """F1 of saying 1 always: 2 p / (1 + p) where a share p of the labels is 1."""
    return f1(np.ones_like(labels), labels)


def guessed_correlation(labels: Float[np.ndarray, " items"]) -> float:
    """Correlation of an answer that is always the same: 0."""
    return 0.0


def _binary(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = _finite(predictions, labels)
    for side in sides:
        if not np.isin(side, (0, 1)).all():
            raise ValueError(f"expected classes 0 and 1, got {np.unique(side)[:4].tolist()}")
    return sides


def _finite(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"expected two vectors of one length, at least 1; got {first.shape} and {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("expected finite scores and targets, got NaN or infinity; check the model")
    return first, second
