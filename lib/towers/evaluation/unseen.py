"""Languages that alignment never saw: which of two models keeps more of them.

A task is a language in one direction of retrieval. Both models answer the same queries, so that the
bootstrap draws pictures, near duplicates together, and all that is asked about a picture in any
language goes with it. Hits of several seeds are averaged first; seeds are not drawn.

Source: Khan and Fu 2023, section 3.2, Table 2.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from towers.records import Measurement

TASK = ["language", "direction"]


def answers(hits: pd.DataFrame, model: str, languages: Iterable[str] | None = None) -> pd.DataFrame:
    """How often a model answers what is asked about each picture, in each task.

    Args:
        hits: rows of `retrieval.hits`, of one or several seeds.
        model: whose.
        languages: that count; None: all of them.

    Returns:
        One row a picture, indexed by `group` and `item`, one column a task; NaN where a picture
        has no caption in a language.

    Raises:
        ValueError: there are no rows of the model in these languages.
    """
    own = hits[hits.model == model]
    if languages is not None:
        own = own[own.language.isin(list(languages))]
    if own.empty:
        raise ValueError(
            f"expected hits of {model!r} in these languages, got those of "
            f"{', '.join(dict.fromkeys(hits.model))} in {', '.join(dict.fromkeys(hits.language))}"
        )
    return own.pivot_table(index=["group", "item"], columns=TASK, values="hit", sort=False)


def overall(
    hits: pd.DataFrame,
    name: str,
    languages: Iterable[str] | None = None,
    *,
    k: int = 10,
    seed: int = 0,
) -> list[Measurement]:
    """The mean over tasks of each model, beside chance.

    Args:
        hits: as for `answers`.
        name: of the data.
        languages: as for `answers`.
        k: what counted as a hit, for the records' names.
        seed: of the bootstrap.

    Returns:
        For each model that was asked in these languages "R@10 over tasks" with a 95 % bootstrap
        interval over pictures, and "R@10 chance over tasks"; n tasks.
    """
    rows = []
    if languages is not None:
        hits = hits[hits.language.isin(list(languages))]
    for model in dict.fromkeys(hits.model):
        table = answers(hits, model)
        (value,), ((low, high),) = _drawn(table, lambda means: means.mean(1, keepdims=True), seed)
        level = hits[hits.model == model].groupby(TASK).chance.first()
        shared = {"model": model, "data": name, "n": table.shape[1]}
        metric = f"R@{k} over tasks"
        rows.append(Measurement(metric=metric, value=value, low=low, high=high, **shared))
        chance = float(level.mean())
        rows.append(Measurement(metric=f"R@{k} chance over tasks", value=chance, **shared))
    return rows


def compare(
    hits: pd.DataFrame,
    first: str,
    second: str,
    name: str,
    languages: Iterable[str] | None = None,
    *,
    k: int = 10,
    seed: int = 0,
) -> list[Measurement]:
    """In how many tasks one model is ahead of another, and by how much.

    Args:
        hits: as for `answers`, both models on the same queries.
        first: under whose name the records are.
        second: the other.
        name: of the data.
        languages: as for `answers`.
        k: as for `overall`.
        seed: of the bootstrap.

    Returns:
        Say, for "LiT" as the second: "R@10 gain over LiT", the mean difference over tasks, with a
        95 % bootstrap interval over pictures; "tasks ahead of LiT", their number, without one, for
        a count of differences above zero drifts towards half of the tasks in every resample;
        "tasks surely ahead of LiT" and "tasks surely behind LiT", those in which the interval of
        the task's own difference is above or below zero; n tasks. And for each task, say "text
        retrieval R@10 gain over LiT" on "NAME:LANGUAGE", with that interval; n pictures.

    Raises:
        ValueError: as `answers`, or the models were asked different things.
    """
    own, other = (answers(hits, model, languages) for model in (first, second))
    asked = [(table.index, table.columns, table.notna().to_numpy()) for table in (own, other)]
    if not all(np.array_equal(*each) for each in zip(*asked, strict=True)):
        raise ValueError(
            f"expected {first} and {second} on the same queries, got {own.shape} and {other.shape} "
            "pictures and tasks; evaluate both on the same collection and languages"
        )
    (gain, *each), (reach, *ends) = _drawn(own - other, _gains, seed)
    shared = {"model": first, "data": name, "n": own.shape[1]}
    metric = f"R@{k} gain over {second}"
    rows = [Measurement(metric=metric, value=gain, low=reach[0], high=reach[1], **shared)]
    counts = {
        "ahead of": sum(value > 0 for value in each),
        "surely ahead of": sum(low > 0 for low, _ in ends),
        "surely behind": sum(high < 0 for _, high in ends),
    }
    rows += [
        Measurement(metric=f"tasks {way} {second}", value=float(count), **shared)
        for way, count in counts.items()
    ]
    for task, value, (low, high) in zip(own.columns, each, ends, strict=True):
        language, direction = task
        rows.append(
            Measurement(
                model=first, data=f"{name}:{language}", n=int(own[task].notna().sum()), low=low,
                high=high, value=value, metric=f"{direction} R@{k} gain over {second}",
            )
        )  # fmt: skip
    return rows


def means(frame: pd.DataFrame, k: int = 10) -> pd.DataFrame:
    """The means that `overall` recorded, beside chance.

    Args:
        frame: records, as `Run.frame` gives them.
        k: as for `overall`.

    Returns:
        The rows "R@k over tasks", with the column `chance`.
    """
    keys = ["model", "data"]
    levels = frame[frame.metric == f"R@{k} chance over tasks"].set_index(keys).value
    return frame[frame.metric == f"R@{k} over tasks"].join(levels.rename("chance"), on=keys)


def by_task(frame: pd.DataFrame, second: str) -> pd.DataFrame:
    """The differences of single tasks that `compare` recorded.

    Args:
        frame: records, as `Run.frame` gives them.
        second: the model that was compared with.

    Returns:
        Those rows, with the columns `direction` and `language`.
    """
    found = frame.metric.str.extract(rf"^(\w+ retrieval) R@\d+ gain over ({re.escape(second)})$")
    rows = frame.assign(direction=found[0])[found[1].notna()]
    return rows.assign(language=rows.data.str.extract(r":([^:]*)$")[0])


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
