"""How sure a number is: exact binomial, Student's and bootstrap intervals, all of 95 %."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from towers.metrics.classification import mean_per_class

TAIL = (1 - 0.95) / 2
"""Probability that an interval leaves out on each side."""
DRAWS = 1 << 22  # resampled indices held at a time: 32 MB


class Interval(NamedTuple):
    """The two ends of a confidence interval, in the unit of the value it belongs to."""

    low: float
    high: float


def clopper_pearson(successes: float, n: int) -> Interval:
    """Exact interval of a probability after `successes` of `n` independent trials.

    It covers the true probability at least 95 % of the time. 0 successes give a low of 0 and a high
    of 1 - 0.025^(1/n), n successes the mirror image.

    Args:
        successes: 0 to n. A fraction, which expected hits under ties can be, widens the interval:
            `low` is that of the whole number below, `high` that of the whole number above.
        n: at least 1.

    Raises:
        ValueError: an argument is out of range or NaN.

    Source: Clopper and Pearson 1934; beta quantiles from SciPy.
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"expected 0 <= successes <= n and n >= 1; got {successes} of {n}")
    below, over = int(np.floor(successes)), int(np.ceil(successes))
    low = float(stats.beta.ppf(TAIL, below, n - below + 1)) if below > 0 else 0.0
    high = float(stats.beta.ppf(1 - TAIL, over + 1, n - over)) if over < n else 1.0
    return Interval(low, high)


def bootstrap(
    values: Float[np.ndarray, "items ..."],
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    groups: Shaped[np.ndarray, " items"] | None = None,
    strata: Shaped[np.ndarray, " items"] | None = None,
) -> Interval:
    """Percentile bootstrap: the middle of the statistic over resampled items.

    Items are drawn with replacement, as many as there are. With `groups`, whole groups are drawn
    instead, as many as there are: items of one group (the captions of one image) are then not
    mistaken for independent ones. With `strata`, items (or groups) are drawn within each stratum,
    as many as it has: a mean per class needs that, or rare classes would drop out of resamples and
    another quantity be estimated. The interval is widened, if need be, to hold the statistic of
    the values themselves. Values that are all alike give an interval of no width, which for a
    share of 0 or 1 claims too much: `proportion` knows better.

    Args:
        values: one item per row; more axes are passed on to the statistic.
        statistic: resampled rows in, one number out; symmetric in the rows.
        n_resamples: how many resamples, at least 1.
        seed: of the resampling; the same seed gives the same interval.
        groups: which group each item belongs to, any labels.
        strata: which stratum each item belongs to, any labels. A group that lies in several
            strata is drawn in each of them on its own.

    Raises:
        ValueError: no item, NaN or infinity among the values, `groups` or `strata` of another
            length, or an argument out of range.

    Source: Efron and Tibshirani 1993, chapter 13; with strata, Davison and Hinkley 1997,
        section 3.2.
    """
    values = _checked(values, n_resamples)
    rng = np.random.default_rng(seed)
    members, strata = _members(groups, strata, len(values))
    if statistic is np.mean and values.ndim == 1:  # the same draws, without gathering the items
        drawn = _resampled_means(values, np.ones(len(values)), members, strata, n_resamples, rng)
    else:
        drawn = np.empty(n_resamples)
        lone = groups is None and isinstance(strata, int)  # every group is one item, in order
        for i in range(n_resamples):
            picked = _picked(strata, 1, rng)[0]
            rows = picked if lone else np.concatenate([members[group] for group in picked])
            drawn[i] = statistic(values[rows])
    return _middle(drawn, float(statistic(values)))


def proportion(
    hits: Float[np.ndarray, " items"],
    *,
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
    hits = _shares(hits)
    if hits.size and (hits.max() == 0 or hits.min() == 1):
        n = len(_members(groups, None, len(hits))[0])
        return clopper_pearson(n * hits[0], n)
    return bootstrap(hits, seed=seed, groups=groups)


def proportion_per_class(
    hits: Float[np.ndarray, " items"],
    labels: Shaped[np.ndarray, " items"],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    groups: Shaped[np.ndarray, " items"] | None = None,
) -> Interval:
    """Interval of the mean over classes of the mean hit within each class.

    The classes are given, their items were drawn: resamples keep every class, and draw items (or
    groups) within it. A class of one item (or group) says nothing about how much another item
    would differ; such classes are drawn among each other, which is no narrower than the truth.
    With groups of unequal size a class counts in a resample in proportion to its items drawn.
    Where every hit is 0 or every hit is 1, as `proportion`.

    Args:
        hits: in [0, 1], one per item.
        labels: class of each item, any labels.
        n_resamples: as for `bootstrap`.
        seed: as for `bootstrap`.
        groups: as for `bootstrap`; one that lies in several classes is drawn in each on its own.

    Raises:
        ValueError: lengths differ, or as `proportion`.

    Source: Davison and Hinkley 1997, section 3.2; classes of one item as "collapsed strata" in
        Cochran 1977, section 5A.12.
    """
    hits, labels = np.asarray(hits, dtype=float), np.asarray(labels)
    if hits.shape != labels.shape or hits.ndim != 1:
        raise ValueError(
            f"expected a label for each hit, as vectors; got {hits.shape} and {labels.shape}"
        )
    if not hits.size or hits.max() <= 0 or hits.min() >= 1:
        return proportion(hits, groups=groups)
    hits = _checked(_shares(hits), n_resamples)
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights = 1 / sizes[classes]
    members, strata = _members(groups, classes, len(hits))
    lone = np.bincount(strata)[strata] == 1
    strata, order = np.where(lone, -1, strata), np.argsort(~lone, kind="stable")
    members, strata = [members[group] for group in order], strata[order]
    rng = np.random.default_rng(seed)
    drawn = _resampled_means(hits, weights, members, strata, n_resamples, rng)
    return _middle(drawn, mean_per_class(hits, labels))


def paired_difference(
    first: Float[np.ndarray, " items"],
    second: Float[np.ndarray, " items"],
    *,
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
    return bootstrap(first - second, seed=seed, groups=groups)


def student(values: Float[np.ndarray, " seeds"]) -> Interval:
    """Student's interval of a mean over a few repetitions, such as seeds.

    Right where repetitions scatter normally; ddof 1. With two of them it is 6.5 times as wide
    as 1.96 standard errors.

    Args:
        values: at least two, finite.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"expected at least two finite values, got {values.tolist()}; run more seeds"
        )
    quantile = stats.t.ppf(1 - TAIL, len(values) - 1)
    reach = quantile * values.std(ddof=1) / len(values) ** 0.5
    return Interval(float(values.mean() - reach), float(values.mean() + reach))


def _checked(values: np.ndarray, n_resamples: int) -> Float[np.ndarray, "items ..."]:
    """Values that can be resampled, as floats."""
    values = np.asarray(values, dtype=float)
    if values.ndim < 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("expected at least one value, all finite; check for NaN or empty input")
    if n_resamples < 1:
        raise ValueError(f"expected n_resamples of at least 1, got {n_resamples}")
    return values


def _shares(hits: np.ndarray) -> Float[np.ndarray, " items"]:
    """Hits as floats, all of them in [0, 1]."""
    hits = np.asarray(hits, dtype=float)
    if hits.size and not ((hits >= 0) & (hits <= 1)).all():
        raise ValueError(f"expected hits from 0 to 1, got {hits.min()} to {hits.max()}")
    return hits


def _middle(drawn: np.ndarray, value: float) -> Interval:
    """What lies between the tails of the resamples, widened to hold the value."""
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return Interval(min(float(low), value), max(float(high), value))


def _members(
    groups: np.ndarray | None, strata: np.ndarray | None, items: int
) -> tuple[list[np.ndarray], np.ndarray | int]:
    """The items of each group, and the number of its stratum, in the order of the strata.

    Every item is its own group where no groups are given; without strata the second is how many
    groups there are.
    """
    for name, given in (("group", groups), ("stratum", strata)):
        if given is not None and len(given) != items:
            raise ValueError(f"expected a {name} for each of {items} items, got {len(given)}")
    if groups is None and strata is None:
        return list(np.arange(items)[:, None]), items
    numbers = np.arange(items) if groups is None else _numbers(groups)
    if strata is not None:
        numbers = _numbers(_numbers(strata) * items + numbers)
    order = np.argsort(numbers, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    if strata is None:
        return members, len(members)
    return members, _numbers(strata)[[rows[0] for rows in members]]


def _numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as numbers from 0, in their order."""
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def _picked(strata: np.ndarray | int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Which groups each resample takes: as many as there are, in each stratum as many as it has."""
    if isinstance(strata, int):
        return rng.integers(0, strata, (resamples, strata))
    first = np.searchsorted(strata, strata, side="left")
    last = np.searchsorted(strata, strata, side="right")
    return rng.integers(first, last, (resamples, len(strata)))


def _resampled_means(
    values: np.ndarray,
    weights: np.ndarray,
    members: list[np.ndarray],
    strata: np.ndarray | int,
    n_resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """The weighted mean of each resample, from the sums of each group."""
    sizes = np.array([weights[rows].sum() for rows in members])
    sums = np.array([(values[rows] * weights[rows]).sum() for rows in members])
    step = max(1, DRAWS // len(members))
    means = []
    for first in range(0, n_resamples, step):
        picked = _picked(strata, min(step, n_resamples - first), rng)
        means.append(sums[picked].sum(axis=1) / sizes[picked].sum(axis=1))
    return np.concatenate(means)
