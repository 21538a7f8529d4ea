"""One recipe trained on two sources of equal size: which is better, on which data set?

Source: Radford et al. 2021, appendix D and Table 12.
"""

from collections.abc import Sequence

import pandas as pd

from towers import data, models
from towers.data import prompts
from towers.evaluation import retrieval, zero_shot
from towers.metrics import intervals
from towers.records import Measurement

METRICS = ("top-1 accuracy (ensemble)", "text retrieval R@10", "image retrieval R@10")
"""What two models are compared by."""
AVERAGE = ("all", "average")
"""Data and metric of the last row, over all others."""


def measure(
    dual: models.DualTower, labelled: Sequence[str], paired: Sequence[str], seed: int
) -> list[Measurement]:
    """What one model can do.

    Args:
        dual: of one source and seed.
        labelled: collections to classify zero-shot, with an ensemble of at most eight prompts.
        paired: collections to retrieve from by their captions, and captions by their pictures.
        seed: that the model was trained with.

    Returns:
        Rows of `METRICS`, with their intervals.
    """
    rows = []
    for name in labelled:
        sets = prompts.prompt_sets(name, 8)
        rows += zero_shot.evaluate(dual, data.load(name), sets, ks=(1,), seed=seed)
    for name in paired:
        rows += retrieval.evaluate(dual, data.load(name), seed=seed)
    return [row for row in rows if row.metric in METRICS]


def compare(frame: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Two models' values on each data set, and their difference over seeds.

    Args:
        frame: records of both models, each measured with the same seeds: columns `model`, `data`,
            `metric`, `seed`, `value` (fractions); those of `METRICS` are looked at.
        first: name of one model.
        second: name of the other.

    Returns:
        One row a data set and metric: `data`, `metric`, the means of `first` and `second`, their
        `difference` (first minus second) with Student's 95 % interval over the seeds as `low` and
        `high`, and `seeds`; last `AVERAGE`, whose interval is that of the seeds' averages. Rows
        that one of the two lacks are left out.

    Raises:
        ValueError: there is nothing that both were measured on, or one seed only.
    """
    frame = frame[frame.metric.isin(METRICS)]
    keys = ["data", "metric", "seed"]
    of_model = [frame[frame.model == name].set_index(keys).value for name in (first, second)]
    both = pd.concat(of_model, axis=1, keys=["first", "second"], join="inner")
    if both.empty:
        raise ValueError(
            f"expected records of {first!r} and {second!r} on the same data, got none; models are: "
            f"{', '.join(frame.model.unique())}"
        )
    parts = [*both.groupby(level=["data", "metric"], sort=False)]
    parts.append((AVERAGE, both.groupby(level="seed").mean()))
    rows = []
    for (tested, metric), part in parts:
        apart = part["first"] - part["second"]
        low, high = intervals.student(apart.to_numpy())
        means = {first: part["first"].mean(), second: part["second"].mean()}
        rows.append({"data": tested, "metric": metric, **means, "difference": apart.mean(),
                     "low": low, "high": high, "seeds": len(part)})  # fmt: skip
    return pd.DataFrame(rows)


def evaluate(compared: pd.DataFrame) -> list[Measurement]:
    """The differences, and how many each model won.

    Args:
        compared: rows of `compare`.

    Returns:
        For each row "METRIC: difference" with its interval, n being the seeds. For each model
        "wins" and "sure wins" (the interval excludes zero) among the rows but the average, which
        are n.
    """
    first, second = compared.columns[2:4]
    pair = f"{first} against {second}"
    rows = [
        Measurement(model=pair, data=row.data, metric=f"{row.metric}: difference",
                    value=row.difference, low=row.low, high=row.high, n=row.seeds)
        for row in compared.itertuples()
    ]  # fmt: skip
    single = compared[compared.data != AVERAGE[0]]
    won = {first: (single.difference > 0, single.low > 0),
           second: (single.difference < 0, single.high < 0)}  # fmt: skip
    counts = [(name, "wins", wins.sum()) for name, (wins, _) in won.items()]
    counts += [(name, "sure wins", sure.sum()) for name, (_, sure) in won.items()]
    rows += [
        Measurement(model=model, data="all", metric=metric, value=float(value), n=len(single))
        for model, metric, value in counts
    ]
    return rows
