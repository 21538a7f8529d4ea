"""The book's two comparisons: of two models on the same queries, and of one model's seeds.

Over queries, what is hard about one is hard for both models and cancels: intervals are paired
bootstraps over groups of queries that belong together (`metrics.intervals.paired_difference`), and
say what other queries would change. Over seeds they are Student's (`metrics.intervals.student`),
and say what another training would change. Where several seeds of both models answer the same
queries, they say what both would change (`metrics.crossed`). All are 95 %.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from towers import metrics
from towers.records import Measurement

PER_QUERY = {"model", "item", "group", "hit", "chance", "seed"}
"""Columns of hits that say something of a query; all others are conditions."""


def gain(
    ours: Float[np.ndarray, "*seeds queries"],
    theirs: Float[np.ndarray, "*seeds queries"],
    *,
    model: str,
    data: str,
    metric: str,
    over: str,
    at: dict | None = None,
    groups: Shaped[np.ndarray, " queries"] | None = None,
    seed: int = 0,
) -> Measurement:
    """How much more one model has than another on the same queries.

    Args:
        ours: of each query, for example whether it was answered; or one such row a seed.
        theirs: the other model's, query by query.
        model: whose `ours` are.
        data: name of the data.
        metric: what the values are means of, "recall" for example.
        over: the other model, or the other setting of the same one.
        at: the conditions of both.
        groups: queries of one group are drawn together.
        seed: of both models' runs, and of the bootstrap; of no meaning where there are several.

    Returns:
        "recall gain", the mean of the differences with their paired interval, at `over` and the
        other conditions; n queries. Several seeds together stand at their number, `seeds`, and
        the interval is over seeds and queries.

    Raises:
        ValueError: other queries in one than in the other.
    """
    ours, theirs, at = np.asarray(ours, float), np.asarray(theirs, float), {**(at or {})}
    if several := ours.ndim == 2 and ours.shape == theirs.shape:
        low, high = metrics.crossed(ours - theirs, groups=groups)
        at["seeds"] = len(ours)
    else:
        low, high = metrics.intervals.paired_difference(ours, theirs, seed=seed, groups=groups)
    return Measurement(
        model=model, data=data, metric=f"{metric} gain", value=float((ours - theirs).mean()),
        low=low, high=high, n=ours.shape[-1], seed=None if several else seed,
        at=at | {"over": over},
    )  # fmt: skip


def gains(
    first: Mapping[int, pd.DataFrame],
    second: Mapping[int, pd.DataFrame],
    *,
    model: str,
    over: str,
    data: str,
) -> list[Measurement]:
    """`gain` for everything that two models were asked: of each seed, and of all seeds together.

    Args:
        first: seed -> one row a query: `metric`, `group`, `hit` and any conditions, as
            `retrieval.hits` and `family.hits` give them.
        second: of the other model, with the same seeds.
        model: whose the first are.
        over: whose the second are.
        data: name of the data.

    Raises:
        ValueError: they were asked different things, or two seeds were.
    """
    asked: dict[tuple, list[tuple[pd.DataFrame, pd.DataFrame | None]]] = {}
    for seed, frame in first.items():
        theirs = _by_condition(second[seed])
        for key, part in _by_condition(frame).items():
            asked.setdefault(key, []).append((part, theirs.get(key)))
    rows = []
    for key, parts in asked.items():
        groups = parts[0][0].group.to_numpy()
        sizes = [0 if part is None else len(part) for both in parts for part in both]
        same = len(parts) == len(first) and set(sizes) == {len(groups)}
        if not same or any((part.group != groups).any() for both in parts for part in both):
            raise ValueError(
                f"expected {model} and {over} on the same queries of {dict(key)} with every seed, "
                f"got {', '.join(map(str, sizes))}; ask both about the same collection"
            )
        ours, theirs = (np.stack([both[i].hit.to_numpy(float) for both in parts]) for i in (0, 1))
        at = dict(key)
        shared = {"model": model, "data": data, "metric": at.pop("metric"), "over": over, "at": at,
                  "groups": groups}  # fmt: skip
        rows += [gain(ours[i], theirs[i], seed=seed, **shared) for i, seed in enumerate(first)]
        if len(first) > 1:
            rows.append(gain(ours, theirs, **shared))
    return rows


def _by_condition(hits: pd.DataFrame) -> dict[tuple[tuple[str, object], ...], pd.DataFrame]:
    """The queries of each condition, by its columns and values."""
    names = [name for name in hits.columns if name not in PER_QUERY]
    return {
        tuple(
            (name, value) for name, value in zip(names, key, strict=True) if not pd.isna(value)
        ): part
        for key, part in hits.groupby(names, sort=False, dropna=False)
    }


def over_seeds(
    rows: Sequence[Measurement], wanted: Collection[str], *, geometric: bool = False
) -> list[Measurement]:
    """Means over seeds with Student's 95 % interval of them.

    Args:
        rows: of one or several seeds; those without a seed are left out.
        wanted: metrics to average.
        geometric: average the logarithms instead, as suits ratios: half and twice give one. Values
            must be above zero.

    Returns:
        For whatever several seeds have, the mean of the same metric, at `averaged` "seeds" (or
        "seeds, geometrically") and the other conditions; n is the number of seeds. What one seed
        of a model lacks has no mean, as the seeds that have it would flatter it.

    Raises:
        ValueError: a value to be averaged geometrically is not above zero.
    """
    values: dict[tuple, dict[int, Measurement]] = {}
    seeds: dict[tuple[str, str], set[int]] = {}
    for row in (row for row in rows if row.seed is not None):
        seeds.setdefault((row.model, row.data), set()).add(row.seed)
        if row.metric in wanted:
            key = (row.model, row.data, row.metric, tuple(sorted(row.at.items())))
            values.setdefault(key, {})[row.seed] = row
    means = []
    for (model, data, metric, at), of_seed in values.items():
        if len(of_seed) < 2 or set(of_seed) != seeds[model, data]:
            continue
        value, low, high = _mean([row.value for row in of_seed.values()], metric, geometric)
        levels = [row.chance for row in of_seed.values() if row.chance is not None]
        chance = float(np.mean(levels)) if len(levels) == len(of_seed) else None
        how = "seeds, geometrically" if geometric else "seeds"
        means.append(
            Measurement(model=model, data=data, metric=metric, value=value, low=low, high=high,
                        n=len(of_seed), chance=chance, at=dict(at) | {"averaged": how})
        )  # fmt: skip
    return means


def gains_over_seeds(
    rows: Sequence[Measurement], first: str, second: str, wanted: Collection[str]
) -> list[Measurement]:
    """How much more one model has than another, seed by seed: means over seeds.

    Args:
        rows: of both models, with the same seeds.
        first: the model whose gains these are.
        second: the model that it is compared with.
        wanted: metrics to compare.

    Returns:
        As `over_seeds`, for whatever both were measured on: "recall gain" at `over` the second
        model and the other conditions, for example; last "average gain" on "all", the mean of all
        gains of a seed.

    Raises:
        ValueError: nothing was measured of both.
    """
    ours, theirs = (
        {
            (row.data, row.metric, tuple(row.at.items()), row.seed): row
            for row in rows
            if row.model == name and row.metric in wanted and row.seed is not None
        }
        for name in (first, second)
    )
    gained: dict[int, list[float]] = {}
    single = []
    for (data, metric, at, seed), row in ours.items():
        if other := theirs.get((data, metric, at, seed)):
            gained.setdefault(seed, []).append(row.value - other.value)
            single.append(
                Measurement(model=first, data=data, metric=f"{metric} gain", n=row.n, seed=seed,
                            value=gained[seed][-1], at=dict(at) | {"over": second})
            )  # fmt: skip
    if not single:
        raise ValueError(
            f"expected {', '.join(wanted)} of {first!r} and {second!r} on the same data and seeds, "
            f"got none; models are: {', '.join(dict.fromkeys(row.model for row in rows))}"
        )
    whole = [
        Measurement(model=first, data="all", metric="average gain", value=float(np.mean(values)),
                    n=len(values), seed=seed, at={"over": second})
        for seed, values in gained.items()
    ]  # fmt: skip
    return over_seeds([*single, *whole], {row.metric for row in (*single, *whole)})


def _mean(values: Sequence[float], metric: str, geometric: bool) -> tuple[float, float, float]:
    """The mean and both ends of its interval."""
    if not geometric:
        return float(np.mean(values)), *metrics.intervals.student(np.array(values))
    if min(values) <= 0:
        raise ValueError(
            f"expected values above zero of {metric!r} for a geometric mean, got {min(values)}; "
            "average them as they are"
        )
    logs = np.log(values)
    ends = (float(logs.mean()), *metrics.intervals.student(logs))
    return tuple(math.exp(end) for end in ends)
