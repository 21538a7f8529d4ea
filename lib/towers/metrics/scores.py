"""The metrics by which cards score labels: the value of each, its interval, and chance."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Shaped

from towers.metrics import intervals
from towers.metrics.classification import (
    eleven_point_map,
    mean_average_precision,
    mean_per_class,
    roc_auc,
)
from towers.metrics.retrieval import hits_at_k

HITS = {"accuracy": "accuracy", "mean_per_class_accuracy": "accuracy per class"}
"""Metrics of items that are right or wrong, as cards call them -> as records call them."""
RANKINGS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "eleven_point_map": ("11-point mAP", eleven_point_map),
    "mean_average_precision": ("mAP", mean_average_precision),
    "roc_auc": ("ROC AUC", roc_auc),
}
"""Metrics of how each class ranks all items -> what records call them, and their function."""
BY_NAME = {**HITS, **{name: record for name, (record, _) in RANKINGS.items()}}
"""All that a card may name -> as records call it."""
Scores = Float[np.ndarray, "items classes"] | Float[np.ndarray, "draws items classes"]
Targets = Int[np.ndarray, " items"] | Int[np.ndarray, "items classes"]


def value(name: str, scores: Scores, targets: Targets) -> float:
    """Score labels by a card's metric.

    Args:
        name: of `BY_NAME`.
        scores: higher is likelier; of several classifiers of the same items, the mean counts.
        targets: class number of each item; or, where an item has several classes, 0 or 1 for each.

    Raises:
        ValueError: another name, several classes an item where a metric takes one, or as the
            metric itself.
    """
    runs, targets = _runs(scores), np.asarray(targets)
    if name in RANKINGS:
        right = _members(targets, runs.shape[2])
        return float(np.mean([RANKINGS[name][1](run, right) for run in runs]))
    hits = _hits(name, runs, targets)
    return float(hits.mean()) if name == "accuracy" else mean_per_class(hits, targets)


def score(
    name: str,
    scores: Scores,
    targets: Targets,
    *,
    groups: Shaped[np.ndarray, " items"] | None = None,
    seed: int = 0,
) -> dict[str, object]:
    """Score labels by a card's metric, with its interval and beside chance.

    Args:
        name: as for `value`.
        scores: as for `value`.
        targets: as for `value`.
        groups: items of one group are drawn together by the bootstrap.
        seed: of the bootstrap.

    Returns:
        Fields of a measurement: `metric`, `value`, `low`, `high` (95 %), `n` items, and `chance` of
        scores that are all alike. Accuracy of one classifier has Clopper-Pearson's interval, which
        takes items as independent; all else a bootstrap, within classes where an item has one.

    Raises:
        ValueError: as `value`.
    """
    runs, targets = _runs(scores), np.asarray(targets)
    classes, drawn = runs.shape[2], {"groups": groups, "seed": seed}
    chance = 1 / classes
    if name in RANKINGS:
        strata = targets if targets.ndim == 1 else None
        rows = np.arange(len(targets), dtype=float)
        low, high = intervals.bootstrap(
            rows, lambda rows: value(name, runs[:, rows.astype(int)], targets[rows.astype(int)]),
            strata=strata, **drawn,
        )  # fmt: skip
        chance = RANKINGS[name][1](np.zeros(runs.shape[1:]), _members(targets, classes))
    elif name == "mean_per_class_accuracy":
        low, high = intervals.proportion_per_class(_hits(name, runs, targets), targets, **drawn)
    elif len(runs) > 1:
        low, high = intervals.bootstrap(_hits(name, runs, targets), **drawn)
    else:
        low, high = intervals.clopper_pearson(_hits(name, runs, targets).sum(), len(targets))
    fields = {"metric": BY_NAME[name], "value": value(name, runs, targets), "n": len(targets)}
    return fields | {"low": low, "high": high, "chance": chance}


def _runs(scores: Scores) -> Float[np.ndarray, "draws items classes"]:
    scores = np.asarray(scores, dtype=float)
    return scores[None] if scores.ndim == 2 else scores


def _members(targets: Targets, classes: int) -> Int[np.ndarray, "items classes"]:
    """0 or 1 for each item and class."""
    return np.eye(classes, dtype=int)[targets] if targets.ndim == 1 else targets


def _hits(name: str, runs: np.ndarray, labels: np.ndarray) -> Float[np.ndarray, " items"]:
    """How often each item is right."""
    if name not in HITS:
        raise ValueError(f"expected a metric of {', '.join(BY_NAME)}, got {name!r}")
    if labels.ndim != 1:
        raise ValueError(
            f"expected one class an item for {name}, got targets of shape {labels.shape}; "
            f"name one of {', '.join(RANKINGS)} in the card"
        )
    return np.mean([hits_at_k(run, labels, [1])[1] for run in runs], axis=0)
