"""Error against compute over a ladder of models and data sizes.

Source: Radford et al. 2021, section 3.1.5 and Fig. 9: the average zero-shot error of five ResNets
falls with the models' compute along a straight line through logarithms.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from towers import models
from towers.metrics import trends
from towers.models import counting
from towers.records import Measurement

BACKWARD = 2
"""Compute of a backward pass, in forward passes."""
AVERAGE = "accuracy"
"""The average among what an evaluation returns."""


@lru_cache(maxsize=64)
def forward_flops(image: str, text: str) -> int:
    """Multiplications and additions of one pair's way through two untrained towers.

    Args:
        image: tower from scratch, as `models.dual` takes it.
        text: tower from scratch.
    """
    dual = models.dual(image, text, embed=1, device="meta").eval()
    return counting.forward_flops(dual.image) + counting.forward_flops(dual.text)


def errors(
    log: Sequence[Mapping], *, model: str, image: str, text: str, pairs: int, seed: int
) -> pd.DataFrame:
    """The errors that a finished run ended with, and what it took.

    Args:
        log: lines of the run's log, with at least one evaluation of accuracies.
        model: what to call it.
        image: tower from scratch that was trained, as `models.dual` takes it.
        text: tower from scratch that was trained.
        pairs: that the run has seen.
        seed: of the run.

    Returns:
        One row an evaluation and one for their average, in the column `evaluation`; further columns
        `model`, `pairs`, `seed`, `error`, `model FLOPs` (of one pair's forward pass) and `training
        FLOPs` (forward and backward, over all pairs).
    """
    found = [line["evaluation"] for line in log if "evaluation" in line][-1]
    flops = forward_flops(image, text)
    shared = {
        "model": model,
        "pairs": pairs,
        "seed": seed,
        "model FLOPs": flops,
        "training FLOPs": (1 + BACKWARD) * flops * pairs,
    }
    return pd.DataFrame(
        [shared | {"evaluation": name, "error": 1 - value} for name, value in found.items()]
    ).replace({"evaluation": {AVERAGE: "average"}})


def over_models(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean error over the seeds, at the most pairs: one row a model and evaluation.

    Args:
        frame: rows of `errors`.
    """
    return _means(frame[frame.pairs == frame.pairs.max()])


def over_compute(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean of the average error over the seeds: one row a model and number of pairs.

    Args:
        frame: rows of `errors`.

    Returns:
        With a column `frontier`: nothing that took no more compute has a lower error.
    """
    means = _means(frame[frame.evaluation == "average"])
    best = trends.frontier(means["training FLOPs"].to_numpy(), means.error.to_numpy())
    return means.assign(frontier=best)


def law(points: pd.DataFrame, size: str) -> trends.PowerLaw:
    """The power law through some points.

    Args:
        points: with the column `error`, and one row an average.
        size: column of the compute.

    Raises:
        ValueError: fewer than three points.
    """
    return trends.power_law(points[[size]].to_numpy(float), points.error.to_numpy(float))


def band(points: pd.DataFrame, size: str, places: int = 50) -> pd.DataFrame:
    """The power law through some points and its band, to be drawn.

    Args:
        points: as for `law`.
        size: column of the compute, from whose least to whose greatest value the line goes.
        places: rows.

    Returns:
        Columns of the size's name, `value`, `low` and `high`; no row for fewer than three points.
    """
    if len(points) < 3:
        return pd.DataFrame(columns=[size, "value", "low", "high"], dtype=float)
    along = np.geomspace(points[size].min(), points[size].max(), places)
    line, (low, high) = law(points, size).at(along[:, None])
    return pd.DataFrame({size: along, "value": line, "low": low, "high": high})


def evaluate(frame: pd.DataFrame, *, count: int, data: str) -> list[Measurement]:
    """All errors, and the power laws over models and over compute.

    Args:
        frame: rows of `errors`, of at least three models.
        count: pictures of each set.
        data: that was trained on and evaluated.

    Returns:
        "average error" of each model and seed, at `pairs`; of the ladder "exponent" with its
        interval, "r²" and "range of compute" at `over` "models", the same at `over` "compute", the
        frontier of training compute, where that has three points, and for each `evaluation` its own
        r² over models.
    """
    average = frame[frame.evaluation == "average"]
    rows = [
        Measurement(model=row.model, data=data, metric="average error", value=row.error, n=count,
                    seed=row.seed, at={"pairs": row.pairs})
        for row in average.itertuples()
    ]  # fmt: skip
    largest, compute = over_models(frame), over_compute(frame)
    whole = largest[largest.evaluation == "average"]
    rows += _fitted(whole, "model FLOPs", "models", data)
    for name, part in largest[largest.evaluation != "average"].groupby("evaluation", sort=False):
        if (part.error > 0).all():
            r_squared = law(part, "model FLOPs").r_squared
            at = {"over": "models", "evaluation": name}
            rows.append(_row("r²", r_squared, len(part), data, at))
    frontier = compute[compute.frontier]
    if len(frontier) >= 3:
        rows += _fitted(frontier, "training FLOPs", "compute", data)
    return rows


def _fitted(points: pd.DataFrame, size: str, over: str, data: str) -> list[Measurement]:
    fitted = law(points, size)
    (exponent,), ((low, high),) = fitted.exponents, fitted.intervals
    reach = points[size].max() / points[size].min()
    n, at = fitted.n, {"over": over}
    return [
        _row("exponent", exponent, n, data, at, low=low, high=high),
        _row("r²", fitted.r_squared, n, data, at),
        _row("range of compute", reach, n, data, at),
    ]


def _row(metric: str, value: float, n: int, data: str, at: dict, **ends: float) -> Measurement:
    return Measurement(
        model="ladder", data=data, metric=metric, value=float(value), n=n, at=at, **ends
    )


def _means(frame: pd.DataFrame) -> pd.DataFrame:
    keys = ["model", "pairs", "evaluation", "model FLOPs", "training FLOPs"]
    means = frame.groupby(keys, sort=False).error.mean().reset_index()
    return means.sort_values(["model FLOPs", "pairs"], kind="stable", ignore_index=True)
