"""How sure a mean over items and seeds is: with others of both it would be another one."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from towers.metrics.intervals import Interval


def crossed(
    values: Float[np.ndarray, "seeds items"],
    *,
    confidence: float = 0.95,
    groups: Shaped[np.ndarray, " items"] | None = None,
) -> Interval:
    """Interval of a mean over items that every one of a few trained models was asked.

    A value is a mean plus what is common to a seed, what is common to an item, and a rest; all
    three are random. From the mean squares of the analysis of variance, the variance of the mean is
    (MS_rest + max(MS_seeds - MS_rest, 0) + max(MS_items - MS_rest, 0)) / (seeds items); its degrees
    of freedom are Satterthwaite's. With paired differences as values it tells whether one model
    would be ahead of another with other seeds on other items. Readers and cases of medical imaging
    are compared in the same way.

    Args:
        values: one row a seed, one column an item; at least two of each, finite.
        confidence: strictly between 0 and 1.
        groups: which group each item belongs to, any labels: groups then take the place of items,
            a group counting by its number of items.

    Returns:
        Both ends; of no width where all values are alike.

    Raises:
        ValueError: fewer than two seeds, items or groups, a value that is not finite, or `groups`
            of another length.

    Source: Cornfield and Tukey 1956; Satterthwaite 1946; Hillis 2007 for readers and cases.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"expected finite values of at least two seeds by two items, got shape {values.shape}; "
            "run more seeds"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence strictly between 0 and 1, got {confidence}")
    mean = values.mean()
    table = values if groups is None else _by_group(values - mean, groups) + mean
    seeds, items = table.shape
    of_seed, of_item = table.mean(axis=1), table.mean(axis=0)
    rest = table - of_seed[:, None] - of_item + mean
    ms_seeds = items * ((of_seed - mean) ** 2).sum() / (seeds - 1)
    ms_items = seeds * ((of_item - mean) ** 2).sum() / (items - 1)
    ms_rest = (rest**2).sum() / ((seeds - 1) * (items - 1))
    squares = [(ms_rest, (seeds - 1) * (items - 1))]
    squares += [
        (ms, free) for ms, free in ((ms_seeds, seeds - 1), (ms_items, items - 1)) if ms > ms_rest
    ]
    spread = ms_rest + sum(ms - ms_rest for ms, _ in squares[1:])
    if spread == 0:
        return Interval(float(mean), float(mean))
    parts = sum(ms**2 / free for ms, free in squares)
    quantile = stats.t.ppf((1 + confidence) / 2, spread**2 / parts)
    reach = quantile * (spread / (seeds * items)) ** 0.5
    return Interval(float(mean - reach), float(mean + reach))


def _by_group(
    centred: Float[np.ndarray, "seeds items"], groups: Shaped[np.ndarray, " items"]
) -> Float[np.ndarray, "seeds groups"]:
    """Sums of groups, so scaled that their mean is the mean of the items."""
    labels, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if numbers.shape != centred.shape[1:] or len(labels) < 2:
        raise ValueError(
            f"expected a group for each of {centred.shape[1]} items, two groups or more, got "
            f"{numbers.size} items in {len(labels)}"
        )
    members = np.eye(len(labels))[numbers]
    return centred @ members * (len(labels) / centred.shape[1])
