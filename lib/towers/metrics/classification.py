"""Accuracy, accuracy per class, and average precision."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from towers.metrics.retrieval import hits_at_k


def accuracy(
    predictions: Shaped[np.ndarray, " items"], labels: Shaped[np.ndarray, " items"]
) -> float:
    """The share of items whose predicted class is their label.

    Ties: none, predictions are already decided (for scores that tie, `top_k_accuracy`).

    Raises:
        ValueError: lengths differ, there is no item, or either holds NaN.
    """
    predictions, labels = _paired(predictions, labels)
    return float(np.mean(predictions == labels))


def top_k_hits(
    scores: Float[np.ndarray, "items classes"], labels: Int[np.ndarray, " items"], k: int = 1
) -> Float[np.ndarray, " items"]:
    """Per item, the probability that its label is among the k classes with the highest scores.

    Ties: expectation under a uniformly random order of tied classes.

    Raises:
        ValueError: shapes differ, a label is no column of `scores`, k < 1, or scores hold NaN.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"expected one label per item, got labels of shape {labels.shape}")
    return hits_at_k(scores, labels, [k])[k]


def top_k_accuracy(
    scores: Float[np.ndarray, "items classes"], labels: Int[np.ndarray, " items"], k: int = 1
) -> float:
    """The share of items whose label is among the k classes with the highest scores.

    The mean of `top_k_hits`, whose tie policy and errors it shares; k / classes for a constant
    score. Where nothing ties this is scikit-learn's `top_k_accuracy_score`.
    """
    return float(top_k_hits(scores, labels, k).mean())


def mean_per_class(
    values: Float[np.ndarray, " items"], labels: Shaped[np.ndarray, " items"]
) -> float:
    """The mean over classes of the mean value within each class.

    Classes count alike, however many items they have. A class without items has no mean and does
    not count.

    Raises:
        ValueError: lengths differ, there is no item, or either holds NaN.
    """
    values, labels = _paired(values, labels)
    _, members = np.unique(labels, return_inverse=True)
    return float(np.mean(np.bincount(members, weights=values) / np.bincount(members)))


def mean_per_class_accuracy(
    predictions: Shaped[np.ndarray, " items"], labels: Shaped[np.ndarray, " items"]
) -> float:
    """The accuracy within each class, averaged over the classes that have items.

    Also called balanced accuracy (not adjusted for chance); the metric of the paper's tables for
    Oxford Pets, Caltech-101, FGVC Aircraft and Flowers102. A class that is predicted but labels no
    item does not count.

    Ties: none, predictions are already decided (for scores: `mean_per_class` of `top_k_hits`).

    Raises:
        ValueError: lengths differ, there is no item, or either holds NaN.
    """
    predictions, labels = _paired(predictions, labels)
    return mean_per_class((predictions == labels).astype(float), labels)


def average_precision(
    scores: Float[np.ndarray, " items"], targets: Bool[np.ndarray, " items"]
) -> float:
    """Area under the precision-recall curve as a sum of steps: no interpolation.

    The sum over thresholds of (gain in recall) x (precision at the threshold).

    Ties: items with equal scores pass the threshold together, as in scikit-learn.

    Raises:
        ValueError: lengths differ, scores hold NaN, targets are not 0 or 1, or none is 1.
    """
    hits, taken = _precision_recall(scores, targets)
    gains = np.diff(hits, prepend=0)
    return float(np.sum(gains * hits / taken) / hits[-1])


def eleven_point_average_precision(
    scores: Float[np.ndarray, " items"], targets: Bool[np.ndarray, " items"]
) -> float:
    """Mean over recalls 0, 0.1, ..., 1 of the best precision at that recall or above.

    Ties and errors: as `average_precision`. The recalls are compared as whole numbers, so that no
    rounding of 0.1 moves a point.

    Source: the PASCAL VOC 2007 challenge, whose metric the paper keeps for VOC 2007.
    """
    hits, taken = _precision_recall(scores, targets)
    best_from_here = np.maximum.accumulate((hits / taken)[::-1])[::-1]
    reached = np.searchsorted(10 * hits, np.arange(11) * hits[-1], side="left")
    return float(best_from_here[reached].mean())


def mean_average_precision(
    scores: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"]
) -> float:
    """The mean over classes of `average_precision`, each class ranking all items.

    A class without a positive item has no precision and does not count.

    Ties: as `average_precision`.

    Raises:
        ValueError: shapes differ, scores hold NaN, targets are not 0 or 1, or no class has a
            positive item.
    """
    return float(np.mean([average_precision(*column) for column in _columns(scores, targets)]))


def eleven_point_map(
    scores: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"]
) -> float:
    """The mean over classes of `eleven_point_average_precision`: the mAP of VOC 2007.

    Classes without a positive item, ties, errors: as `mean_average_precision`.
    """
    columns = _columns(scores, targets)
    return float(np.mean([eleven_point_average_precision(*column) for column in columns]))


def _precision_recall(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each distinct score, from the highest down: positives taken so far, items taken so far."""
    scores, targets = _paired(scores, targets)
    if not np.isin(targets, (0, 1)).all() or not targets.any():
        raise ValueError(
            "expected targets of 0 and 1 with at least one 1; got other values or none"
        )
    order = np.argsort(scores, kind="stable")[::-1]
    ranked = scores[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(targets[order].astype(np.int64))[last_of_tie]
    return hits, np.flatnonzero(last_of_tie) + 1


def _columns(scores: np.ndarray, targets: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and targets of each class that has a positive item."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f"expected scores and targets of items x classes; got {scores.shape}, {targets.shape}"
        )
    kept = np.flatnonzero(targets.any(axis=0))
    if not kept.size:
        raise ValueError("expected at least one class with a positive item, got none")
    return [(scores[:, column], targets[:, column]) for column in kept]


def _paired(
    first: Sequence | np.ndarray, second: Sequence | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both as vectors of one length, at least 1, without NaN."""
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"expected two vectors of one length, at least 1; got {first.shape} and {second.shape}"
        )
    for vector in (first, second):
        if vector.dtype.kind == "f" and np.isnan(vector).any():
            raise ValueError("expected values without NaN, got at least one; check the scores")
    return first, second
