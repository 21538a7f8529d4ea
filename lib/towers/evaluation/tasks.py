"""Means over tasks, of one model and of two: languages or directions of retrieval, for example.

Both models answer the same queries about the same pictures, near duplicates counting together: all
that is asked about a picture in any task belongs to it. Intervals are 95 % bootstraps over pictures
of answers averaged over seeds; of two models with several seeds each, they are over seeds and
pictures together (`metrics.crossed`).

Source: Khan and Fu 2023, section 3.2, Table 2.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from towers import metrics
from towers.evaluation.comparisons import PER_QUERY
from towers.records import Measurement

DRAWS, AT_ONCE = 2000, 100
"""Resamples behind an interval, and how many are held at a time."""


def answers(hits: pd.DataFrame, model: str) -> pd.DataFrame:
    """How often a model answers what is asked about each picture, in each task.

    Args:
        hits: rows of `retrieval.hits`, of one or several seeds; further columns tell further tasks.
        model: whose.

    Returns:
        One row a picture, indexed by `group` and `item`, one column a task, named by the columns
        that tell tasks apart; NaN where a picture has no caption in a language.

    Raises:
        ValueError: there are no rows of the model.
    """
    rows = hits[hits.model == model]
    if rows.empty:
        raise ValueError(
            f"expected hits of {model!r}, got those of {', '.join(dict.fromkeys(hits.model))}"
        )
    names = [name for name in hits if name not in PER_QUERY]
    return rows.pivot_table(index=["group", "item"], columns=names, values="hit", sort=False)


def overall(hits: pd.DataFrame, data: str, *, seed: int = 0) -> list[Measurement]:
    """The mean over tasks of each model, beside chance.

    Args:
        hits: as for `answers`.
        data: name of the data.
        seed: of the bootstrap.

    Returns:
        For each model "recall" beside chance, at `averaged` "tasks" and what all of them have in
        common, such as `k`; n tasks.
    """
    rows = []
    for model, part in hits.groupby("model", sort=False):
        table = answers(part, model)
        (value, low, high), *_ = _with_ends(_means(table, seed).mean(1, keepdims=True))
        level = float(part.groupby(table.columns.names).chance.first().mean())
        at = _common(table.columns)
        rows.append(
            Measurement(model=model, data=data, metric=at.pop("metric"), value=value, low=low,
                        high=high, chance=level, n=table.shape[1], at=at | {"averaged": "tasks"})
        )  # fmt: skip
    return rows


def compare(
    hits: pd.DataFrame, first: str, second: str, data: str, *, seed: int = 0
) -> list[Measurement]:
    """In how many tasks one model is ahead of another, and by how much.

    Args:
        hits: as for `answers`, both models on the same queries.
        first: under whose name the records are.
        second: the other.
        data: name of the data.
        seed: of the bootstrap.

    Returns:
        At `over` the second model, `seeds` (their number, if there are several) and what all tasks
        have in common: "recall gain" at `averaged` "tasks", the mean difference; "tasks ahead",
        their number, without an interval, for a count of differences above zero drifts towards half
        of the tasks in every resample; "tasks surely ahead" and "tasks surely behind", where the
        interval of the task's own difference is above or below zero; n tasks. And for each task
        "recall gain" at its `language`, `direction` and whatever tells it from others; n pictures.

    Raises:
        ValueError: as `answers`, or the models were asked different things.
    """
    ours, theirs = (answers(hits, model) for model in (first, second))
    queries = [(table.index, table.columns, table.notna().to_numpy()) for table in (ours, theirs)]
    if not all(np.array_equal(*parts) for parts in zip(*queries, strict=True)):
        raise ValueError(
            f"expected {first} and {second} on the same queries, got {ours.shape} and "
            f"{theirs.shape} pictures and tasks; evaluate both on the same collection and languages"
        )
    at = _common(ours.columns) | {"over": second}
    both = hits[hits.model.isin([first, second])]
    seeds = both.seed.unique() if "seed" in both else [seed]
    if len(seeds) > 1:
        parts = [both[both.seed == each] for each in seeds]
        apart = [answers(part, first) - answers(part, second) for part in parts]
        whole, *single = _crossed([table.reindex_like(ours) for table in apart])
        at |= {"seeds": len(seeds)}
    else:
        means = _means(ours - theirs, seed)
        whole, *single = _with_ends(np.column_stack([means.mean(1), means]))
    shared = {"model": first, "data": data, "metric": f"{at.pop('metric')} gain"}
    counts = {
        "tasks ahead": sum(value > 0 for value, _, _ in single),
        "tasks surely ahead": sum(low > 0 for _, low, _ in single),
        "tasks surely behind": sum(high < 0 for _, _, high in single),
    }
    tasks = ours.columns.to_frame().drop(columns="metric").to_dict("records")
    where, sizes = [{"averaged": "tasks"}, *tasks], [len(tasks), *ours.count()]
    return [
        Measurement(value=value, low=low, high=high, n=n, at=at | more, **shared)
        for (value, low, high), n, more in zip([whole, *single], sizes, where, strict=True)
    ] + [
        Measurement(value=count, n=len(single), at=at, **shared | {"metric": metric})
        for metric, count in counts.items()
    ]


def _common(columns: pd.MultiIndex) -> dict:
    """What is the same in all tasks."""
    table = columns.to_frame()
    return table.loc[:, table.nunique() == 1].iloc[0].to_dict()


def _means(table: pd.DataFrame, seed: int) -> Float[np.ndarray, "draws+1 tasks"]:
    """The mean of each task: of all pictures in the first row, of resamples in the others."""
    values = table.to_numpy(float)
    there, values = ~np.isnan(values), np.nan_to_num(values)
    groups = np.unique(table.index.get_level_values("group"), return_inverse=True)[1]
    count, rng = groups.max() + 1, np.random.default_rng(seed)
    times = [np.ones((1, len(values)))]
    for _ in range(DRAWS // AT_ONCE):
        drawn = rng.integers(0, count, (AT_ONCE, count))
        times.append(np.stack([np.bincount(row, minlength=count) for row in drawn])[:, groups])
    return np.concatenate([part @ values / np.maximum(part @ there, 1) for part in times])


def _crossed(tables: Sequence[pd.DataFrame]) -> list[tuple[float, float, float]]:
    """Mean and interval over all tasks, then of each task; a table holds the differences of a seed.

    A picture's part in the mean over tasks is so scaled that the mean over pictures is that mean.
    """
    groups = tables[0].index.get_level_values("group").to_numpy()
    values = np.stack([table.to_numpy(float) for table in tables])
    there = ~np.isnan(values[0])
    parts = np.nan_to_num(values) * (len(there) / there.sum(0))
    whole = parts.mean(2)
    rows = [(whole.mean(), *metrics.crossed(whole, groups=groups))]
    for task, asked in enumerate(there.T):
        own = values[:, asked, task]
        rows.append((own.mean(), *metrics.crossed(own, groups=groups[asked])))
    return [tuple(map(float, row)) for row in rows]


def _with_ends(values: Float[np.ndarray, "draws+1 values"]) -> list[tuple[float, float, float]]:
    """Each value with the middle 95 % of its resamples, widened where need be to hold it."""
    low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
    real = values[0]
    return list(zip(real, np.minimum(low, real), np.maximum(high, real), strict=True))
