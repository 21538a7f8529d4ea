"""Languages that alignment never saw: which of two models keeps more of them.

A task is a language in one direction of retrieval. Both models answer the same queries, so that the
bootstrap draws pictures, near duplicates together, and all that is asked about a picture in any
language goes with it. Hits of several seeds are averaged first; seeds are not drawn.

Source: Khan and Fu 2023, section 3.2, Table 2.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from towers.records import Measurement

TOLD = ("model", "item", "group", "hit", "chance", "seed")


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
    own = hits[hits.model == model]
    if own.empty:
        raise ValueError(
            f"expected hits of {model!r}, got those of {', '.join(dict.fromkeys(hits.model))}"
        )
    tasks = [name for name in hits if name not in TOLD]
    return own.pivot_table(index=["group", "item"], columns=tasks, values="hit", sort=False)


def overall(hits: pd.DataFrame, name: str, *, seed: int = 0) -> list[Measurement]:
    """The mean over tasks of each model, beside chance.

    Args:
        hits: as for `answers`.
        name: of the data.
        seed: of the bootstrap.

    Returns:
        For each model "recall" beside chance, with a 95 % bootstrap interval over pictures, at
        `averaged` "tasks" and what all of them have in common, such as `k`; n tasks.
    """
    rows = []
    for model, own in hits.groupby("model", sort=False):
        table = answers(own, model)
        (value,), ((low, high),) = _drawn(table, lambda means: means.mean(1, keepdims=True), seed)
        level = float(own.groupby(table.columns.names).chance.first().mean())
        at = _common(table.columns)
        rows.append(
            Measurement(model=model, data=name, metric=at.pop("metric"), value=value, low=low,
                        high=high, chance=level, n=table.shape[1], at=at | {"averaged": "tasks"})
        )  # fmt: skip
    return rows


def compare(
    hits: pd.DataFrame, first: str, second: str, name: str, *, seed: int = 0
) -> list[Measurement]:
    """In how many tasks one model is ahead of another, and by how much.

    Args:
        hits: as for `answers`, both models on the same queries.
        first: under whose name the records are.
        second: the other.
        name: of the data.
        seed: of the bootstrap.

    Returns:
        At `over` the second model and what all tasks have in common: "recall gain" at `averaged`
        "tasks", the mean difference, with a 95 % bootstrap interval over pictures; "tasks ahead",
        their number, without one, for a count of differences above zero drifts towards half of the
        tasks in every resample; "tasks surely ahead" and "tasks surely behind", those in which the
        interval of the task's own difference is above or below zero; n tasks. And for each task
        "recall gain" at its `language`, `direction` and whatever tells it from others, with that
        interval; n pictures.

    Raises:
        ValueError: as `answers`, or the models were asked different things.
    """
    own, other = (answers(hits, model) for model in (first, second))
    asked = [(table.index, table.columns, table.notna().to_numpy()) for table in (own, other)]
    if not all(np.array_equal(*each) for each in zip(*asked, strict=True)):
        raise ValueError(
            f"expected {first} and {second} on the same queries, got {own.shape} and {other.shape} "
            "pictures and tasks; evaluate both on the same collection and languages"
        )
    (gain, *each), (reach, *ends) = _drawn(own - other, _gains, seed)
    at = _common(own.columns) | {"over": second}
    shared = {"model": first, "data": name, "metric": f"{at.pop('metric')} gain"}
    tasks = own.columns.to_frame().drop(columns="metric").to_dict("records")
    counts = {
        "tasks ahead": sum(value > 0 for value in each),
        "tasks surely ahead": sum(low > 0 for low, _ in ends),
        "tasks surely behind": sum(high < 0 for _, high in ends),
    }
    mean = Measurement(value=gain, low=reach[0], high=reach[1], n=len(tasks),
                       at=at | {"averaged": "tasks"}, **shared)  # fmt: skip
    rows = [mean] + [
        Measurement(value=count, n=len(tasks), at=at, **shared | {"metric": metric})
        for metric, count in counts.items()
    ]
    return rows + [
        Measurement(value=value, low=low, high=high, n=pictures, at=at | task, **shared)
        for value, (low, high), pictures, task in zip(each, ends, own.count(), tasks, strict=True)
    ]


def _common(tasks: pd.MultiIndex) -> dict:
    """What is the same in all tasks."""
    table = tasks.to_frame()
    return table.loc[:, table.nunique() == 1].iloc[0].to_dict()


def _gains(means: Float[np.ndarray, "draws tasks"]) -> Float[np.ndarray, "draws values"]:
    """The mean difference, and each task's own."""
    return np.column_stack([means.mean(1), means])


def _drawn(
    table: pd.DataFrame,
    statistics: Callable[[np.ndarray], Float[np.ndarray, "draws values"]],
    seed: int,
    resamples: int = 2000,
) -> tuple[Float[np.ndarray, " values"], Float[np.ndarray, "values 2"]]:
    """Statistics of the tasks' means, and the middle 95 % of them over resampled pictures.

    An interval is widened where it has to be to hold the value itself.
    """
    values = table.to_numpy(float)
    groups = table.index.get_level_values("group").to_numpy()
    means = np.concatenate([*_means(values, groups, seed, resamples)])
    real = statistics(_mean(values, np.ones((1, len(values)))))[0]
    low, high = np.quantile(statistics(means), [0.025, 0.975], axis=0)
    return real, np.stack([np.minimum(low, real), np.maximum(high, real)], axis=1)


def _means(
    values: Float[np.ndarray, "items tasks"], groups: np.ndarray, seed: int, resamples: int
) -> Iterator[Float[np.ndarray, "draws tasks"]]:
    numbers = np.unique(groups, return_inverse=True)[1]
    count = numbers.max() + 1
    rng = np.random.default_rng(seed)
    for _ in range(resamples // 100):
        drawn = rng.integers(0, count, (100, count))
        times = np.stack([np.bincount(row, minlength=count) for row in drawn])
        yield _mean(values, times[:, numbers])


def _mean(
    values: Float[np.ndarray, "items tasks"],
    times: Int[np.ndarray, "draws items"] | Float[np.ndarray, "draws items"],
) -> Float[np.ndarray, "draws tasks"]:
    """Means over items that were drawn so many times, of those that have a value."""
    there = ~np.isnan(values)
    return times @ np.where(there, values, 0.0) / np.maximum(times @ there, 1)
