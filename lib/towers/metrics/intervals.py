"""How sure a number is: exact binomial intervals and bootstrap intervals."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import beta

DRAWS = 1 << 22  # resampled indices held at a time: 32 MB


class Interval(NamedTuple):
    """The two ends of a confidence interval, in the unit of the value it belongs to."""

    low: float
    high: float


def clopper_pearson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval of a probability after `successes` of `n` independent trials.

    It covers the true probability at least as often as `confidence` promises. 0 successes give a
    low of 0 and a high of 1 - (alpha / 2)^(1/n), n successes the mirror image; alpha is
    1 - `confidence`.

    Args:
        successes: 0 to n. A fraction, which expected hits under ties can be, widens the interval:
            `low` is that of the whole number below, `high` that of the whole number above.
        n: at least 1.
        confidence: strictly between 0 and 1.

    Raises:
        ValueError: an argument is out of range or NaN.

    Source: Clopper and Pearson 1934; beta quantiles from SciPy.
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"expected 0 <= successes <= n and n >= 1; got {successes} of {n}")
    tail = _tail(confidence)
    below, over = int(np.floor(successes)), int(np.ceil(successes))
    low = float(beta.ppf(tail, below, n - below + 1)) if below > 0 else 0.0
    high = float(beta.ppf(1 - tail, over + 1, n - over)) if over < n else 1.0
    return Interval(low, high)


def bootstrap(
    values: Float[np.ndarray, "items ..."],
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Shaped[np.ndarray, " items"] | None = None,
) -> Interval:
    """Percentile bootstrap: the middle of the statistic over resampled items.

    Items are drawn with replacement, as many as there are. With `groups`, whole groups are drawn
    instead, as many as there are: items of one group (the captions of one image) are then not
    mistaken for independent ones. The interval is widened, if need be, to hold the statistic of
    the values themselves. Values that are all alike give an interval of no width, which for a
    share of 0 or 1 claims too much: `proportion` knows better.

    Args:
        values: one item per row; more axes are passed on to the statistic.
        statistic: resampled rows in, one number out; symmetric in the rows.
        n_resamples: how many resamples, at least 1.
        confidence: strictly between 0 and 1; quantiles are interpolated linearly.
        seed: of the resampling; the same seed gives the same interval.
        groups: which group each item belongs to, any labels.

    Raises:
        ValueError: no item, NaN or infinity among the values, `groups` of another length, or an
            argument out of range.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim < 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("expected at least one value, all finite; check for NaN or empty input")
    if n_resamples < 1:
        raise ValueError(f"expected n_resamples of at least 1, got {n_resamples}")
    tail, rng = _tail(confidence), np.random.default_rng(seed)
    members = _members(groups, len(values))
    if statistic is np.mean and values.ndim == 1:  # the same draws, without gathering the items
        drawn = _resampled_means(values, members, n_resamples, rng)
    else:
        drawn = np.empty(n_resamples)
        for i in range(n_resamples):
            picked = rng.integers(0, len(members), len(members))
            drawn[i] = statistic(values[np.concatenate([members[group] for group in picked])])
    low, high = np.quantile(drawn, [tail, 1 - tail])
    value = float(statistic(values))
    return Interval(min(float(low), value), max(float(high), value))


def proportion(
    hits: Float[np.ndarray, " items"],
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Shaped[np.ndarray, " items"] | None = None,
) -> Interval:
    """Interval of a mean of hits in [0, 1] whose items come in groups.

    The bootstrap of the mean (arguments as there), except where every hit is 0 or every hit is 1:
    there the bootstrap has nothing to resample, and the Clopper-Pearson interval of 0 or all of
    the groups is given.

    Raises:
        ValueError: as `bootstrap`, or a hit is outside [0, 1].
    """
    hits = np.asarray(hits, dtype=float)
    if hits.size and not ((hits >= 0) & (hits <= 1)).all():
        raise ValueError(f"expected hits from 0 to 1, got {hits.min()} to {hits.max()}")
    if hits.size and (hits.max() == 0 or hits.min() == 1):
        n = len(_members(groups, len(hits)))
        return clopper_pearson(n * hits[0], n, confidence)
    return bootstrap(hits, n_resamples=n_resamples, confidence=confidence, seed=seed, groups=groups)


def paired_difference(
    first: Float[np.ndarray, " items"],
    second: Float[np.ndarray, " items"],
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Shaped[np.ndarray, " items"] | None = None,
) -> Interval:
    """Interval of mean(first) - mean(second), both measured on the same items.

    What is hard about an item is hard for both and cancels, so that a difference can be sure where
    the two intervals overlap. Arguments as for `bootstrap`.

    Raises:
        ValueError: lengths differ, or as `bootstrap`.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"expected the same items in both, as vectors; got {first.shape} and {second.shape}"
        )
    return bootstrap(
        first - second, n_resamples=n_resamples, confidence=confidence, seed=seed, groups=groups
    )


def _tail(confidence: float) -> float:
    """The probability left out on each side."""
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence strictly between 0 and 1, got {confidence}")
    return (1 - confidence) / 2


def _members(groups: np.ndarray | None, items: int) -> list[np.ndarray]:
    """The items of each group; every item its own group where none are given."""
    if groups is None:
        return list(np.arange(items)[:, None])
    if len(groups) != items:
        raise ValueError(f"expected a group for each of {items} items, got {len(groups)}")
    _, numbers, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])


def _resampled_means(
    values: np.ndarray, members: list[np.ndarray], n_resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """The mean of each resample, from the sum and size of each group."""
    sizes = np.array([len(rows) for rows in members])
    sums = np.array([values[rows].sum() for rows in members])
    step = max(1, DRAWS // len(members))
    means = []
    for first in range(0, n_resamples, step):
        resamples = min(step, n_resamples - first)
        picked = rng.integers(0, len(members), (resamples, len(members)))
        means.append(sums[picked].sum(axis=1) / sizes[picked].sum(axis=1))
    return np.concatenate(means)
