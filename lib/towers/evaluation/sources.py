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
        `high`, and `seeds`. Rows that one of the two lacks are left out.

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
    rows = []
    for (tested, metric), part in both.groupby(level=["data", "metric"], sort=False):
        apart = part["first"] - part["second"]
        low, high = intervals.student(apart.to_numpy())
        means = {first: part["first"].mean(), second: part["second"].mean()}
        rows.append({"data": tested, "metric": metric, **means, "difference": apart.mean(),
                     "low": low, "high": high, "seeds": len(part)})  # fmt: skip
    return pd.DataFrame(rows)


def evaluate(compared: pd.DataFrame) -> list[Measurement]:
    """The differences, their average over data sets, and how many each model won.

    Args:
        compared: rows of `compare`.

    Returns:
        For each row "METRIC: difference" with its interval, n being the seeds. Of the whole
        "average difference", n being the rows, and for each model "wins", "sure wins" (the
        interval excludes zero) among them.
    """
    first, second = compared.columns[2:4]
    pair = f"{first} against {second}"
    rows = [
        Measurement(model=pair, data=row.data, metric=f"{row.metric}: difference",
                    value=row.difference, low=row.low, high=row.high, n=row.seeds)
        for row in compared.itertuples()
    ]  # fmt: skip
    won = {first: (compared.difference > 0, compared.low > 0),
           second: (compared.difference < 0, compared.high < 0)}  # fmt: skip
    n = len(compared)
    whole = [(pair, "average difference", compared.difference.mean())]
    whole += [(name, "wins", float(wins.sum())) for name, (wins, _) in won.items()]
    whole += [(name, "sure wins", float(sure.sum())) for name, (_, sure) in won.items()]
    rows += [
        Measurement(model=model, data="all", metric=metric, value=float(value), n=n)
        for model, metric, value in whole
    ]
    return rows
