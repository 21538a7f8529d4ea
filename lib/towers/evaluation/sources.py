"""One recipe trained on two sources of equal size: which is better, on which data set?

Source: Radford et al. 2021, appendix D and Table 12.
"""

from collections.abc import Sequence

import pandas as pd

from towers import data, models
from towers.data import prompts
from towers.evaluation import retrieval, zero_shot
from towers.metrics import intervals
from towers.records import Measurement, select

ASKED = (
    {"metric": "accuracy", "prompt": "ensemble", "k": 1},
    {"metric": "recall", "direction": "text retrieval", "k": 10},
    {"metric": "recall", "direction": "image retrieval", "k": 10},
)
"""What two models are compared by."""
AVERAGE = "average"


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
        The rows of `ASKED`, with their intervals.
    """
    rows = []
    for name in labelled:
        sets = {"ensemble": prompts.prompt_sets(name, 8)["ensemble"]}
        rows += zero_shot.evaluate(dual, data.load(name), sets, ks=(1,), seed=seed)
    for name in paired:
        rows += retrieval.evaluate(dual, data.load(name), ks=(10,), seed=seed)
    return [row for row in rows if row.metric in ("accuracy", "recall")]


def compare(frame: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Two models' values on each data set, and their difference over seeds.

    Args:
        frame: records of both models, each measured with the same seeds; those of `ASKED` are
            looked at.
        first: name of one model.
        second: name of the other.

    Returns:
        One row a data set and metric: `data`, `metric`, `direction` of retrieval, the means of
        `first` and `second`, their `difference` (first minus second) with Student's 95 % interval
        over the seeds as `low` and `high`, and `seeds`; last the `AVERAGE` of all, whose interval
        is that of the seeds' averages. Rows that one of the two lacks are left out.

    Raises:
        ValueError: there is nothing that both were measured on, or one seed only.
    """
    asked = pd.concat([select(frame, averaged=None, **wanted) for wanted in ASKED])
    asked = asked.assign(direction=asked.get("direction", ""))
    keys = ["data", "metric", "direction", "seed"]
    of_model = [asked[asked.model == name].set_index(keys).value for name in (first, second)]
    both = pd.concat(of_model, axis=1, keys=["first", "second"], join="inner")
    if both.empty:
        raise ValueError(
            f"expected records of {first!r} and {second!r} on the same data, got none; models are: "
            f"{', '.join(frame.model.unique())}"
        )
    parts = [*both.groupby(level=keys[:3], sort=False)]
    parts.append((("all", AVERAGE, ""), both.groupby(level="seed").mean()))
    rows = []
    for (tested, metric, direction), part in parts:
        apart = part["first"] - part["second"]
        low, high = intervals.student(apart.to_numpy())
        means = {first: part["first"].mean(), second: part["second"].mean()}
        rows.append({"data": tested, "metric": metric, "direction": direction, **means,
                     "difference": apart.mean(), "low": low, "high": high,
                     "seeds": len(part)})  # fmt: skip
    return pd.DataFrame(rows)


def evaluate(compared: pd.DataFrame) -> list[Measurement]:
    """The differences, and how many each model won.

    Args:
        compared: rows of `compare`.

    Returns:
        For each row, under the first model's name, "METRIC gain" at `over` the second one,
        `averaged` "seeds" and its `direction`; n seeds. For each model "wins" and "sure wins" (the
        interval excludes zero) among the rows but the average, which are n.
    """
    first, second = compared.columns[3:5]
    over = {"over": second, "averaged": "seeds"}
    rows = [
        Measurement(model=first, data=row.data, metric=f"{row.metric} gain",
                    value=row.difference, low=row.low, high=row.high, n=row.seeds,
                    at=over | ({"direction": row.direction} if row.direction else {}))
        for row in compared.itertuples()
    ]  # fmt: skip
    single = compared[compared.metric != AVERAGE]
    won = {first: (single.difference > 0, single.low > 0),
           second: (single.difference < 0, single.high < 0)}  # fmt: skip
    counts = [(name, "wins", wins.sum()) for name, (wins, _) in won.items()]
    counts += [(name, "sure wins", sure.sum()) for name, (_, sure) in won.items()]
    rows += [
        Measurement(model=model, data="all", metric=metric, value=float(value), n=len(single))
        for model, metric, value in counts
    ]
    return rows
