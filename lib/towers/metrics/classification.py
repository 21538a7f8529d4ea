"""Accuracy, accuracy per class, average precision, and the area under ROC.

Written out, as bootstraps ask them thousands of times: scikit-learn's take thirty times as long.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import stats


def accuracy(
    predictions: Shaped[np.ndarray, " items"], labels: Shaped[np.ndarray, " items"]
) -> float:
    """The share of items whose predicted class is their label.

    Ties: none, predictions are already decided (for scores that tie, `hits_at_k`).

    Raises:
        ValueError: lengths differ, there is no item, or either holds NaN.
    """
    predictions, labels = _paired(predictions, labels)
    return float(np.mean(predictions == labels))


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


def eleven_point_average_precision(
    scores: Float[np.ndarray, " items"], targets: Bool[np.ndarray, " items"]
) -> float:
    """Mean over recalls 0, 0.1, ..., 1 of the best precision at that recall or above.

    The recalls are compared as whole numbers, so that no rounding of 0.1 moves a point.

    Ties: items with equal scores pass the threshold together.

    Raises:
        ValueError: lengths differ, scores hold NaN, targets are not 0 or 1, or none is 1.

    Source: the PASCAL VOC 2007 challenge, whose metric the paper keeps for VOC 2007.
    """
    scores, targets = _paired(scores, targets)
    ((scores, targets),) = _columns(scores[:, None], targets[:, None])
    hits, precision = _precision(scores, targets)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(10 * hits, np.arange(11) * hits[-1], side="left")
    return float(best_from_here[reached].mean())


def mean_average_precision(
    scores: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"]
) -> float:
    """The mean over classes of the area under the precision-recall curve, without interpolation.

    Ties: items with equal scores pass the threshold together, as in scikit-learn. A class without a
    positive item has no precision and does not count.

    Raises:
        ValueError: shapes differ, scores hold NaN, targets are not 0 or 1, or no class has a
            positive item.
    """
    areas = []
    for column in _columns(scores, targets):
        hits, precision = _precision(*column)
        areas.append(np.diff(hits, prepend=0) @ precision / hits[-1])
    return float(np.mean(areas))


def eleven_point_map(
    scores: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"]
) -> float:
    """The mean over classes of `eleven_point_average_precision`: the mAP of VOC 2007.

    Classes without a positive item, ties, errors: as `mean_average_precision`.
    """
    columns = _columns(scores, targets)
    return float(np.mean([eleven_point_average_precision(*column) for column in columns]))


def roc_auc(
    scores: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"]
) -> float:
    """How often an item of a class scores higher for it than one without: the area under ROC.

    Of two classes that exclude each other, it is the area of the second, by how far its score is
    above that of the first; of more the mean over classes. A class that all or no items have does
    not count.

    Ties: count half. Errors: as `mean_average_precision`.
    """
    columns = _columns(scores, targets)
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.shape[1] == 2 and (targets.sum(axis=1) == 1).all():
        columns = [(scores[:, 1] - scores[:, 0], targets[:, 1])]
    areas = []
    for by, right in columns:
        count = right.sum()
        if 0 < count < len(right):  # ranks of the positives, above those that they have at least
            above = stats.rankdata(by)[right.astype(bool)].sum() - count * (count + 1) / 2
            areas.append(above / (count * (len(right) - count)))
    if not areas:
        raise ValueError("expected items with and without a class, got only one kind of them")
    return float(np.mean(areas))


def _precision(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each distinct score, from the highest down: positives taken so far, and precision."""
    order = np.argsort(scores, kind="stable")[::-1]
    last_of_tie = np.append(scores[order][1:] != scores[order][:-1], True)
    hits = np.cumsum(targets[order].astype(np.int64))[last_of_tie]
    return hits, hits / (np.flatnonzero(last_of_tie) + 1)


def _columns(scores: np.ndarray, targets: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and targets of each class that has a positive item."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise ValueError(
            f"expected scores and targets of items x classes; got {scores.shape}, {targets.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("expected scores without NaN, got at least one; check the embeddings")
    if not np.isin(targets, (0, 1)).all() or not targets.any():
        raise ValueError(
            "expected targets of 0 and 1 with at least one 1; got other values or none"
        )
    return [(scores[:, column], targets[:, column]) for column in np.flatnonzero(targets.any(0))]


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
