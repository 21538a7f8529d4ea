"""What more pairs and larger towers bring: recall over a grid of both, and powers of the error.

Source: Khan and Fu 2023, sections 3.3 and 6.4 to 6.7, Table 4, Figs. 6 to 10.
"""

import numpy as np
import pandas as pd

from towers.evaluation import retrieval
from towers.metrics import trends
from towers.records import Measurement

SHORT = {"text retrieval": "picture to caption", "image retrieval": "caption to picture"}
FACTORS = ("pairs", "parameters")


def measured(records: pd.DataFrame, runs: pd.DataFrame, k: int = 10) -> pd.DataFrame:
    """Recall at k of some runs, one row a run and direction, in the order of the runs.

    Args:
        records: as `Run.frame` gives them, with those of `retrieval.evaluate` and "parameters".
        runs: what each one was, in any columns, with the model's name in `model` and `seed`.
        k: how many of the best candidates count.

    Returns:
        The columns of `runs`, and `direction`, `parameters`, `value`, `low`, `high`, `chance`, `n`.
    """
    found = retrieval.recalls(records)
    found = found[found.k == k].assign(direction=found.direction.map(SHORT))
    weights = records[records.metric == "parameters"].set_index(["model", "seed"]).value
    kept = ["model", "seed", "direction", "value", "low", "high", "chance", "n"]
    rows = runs.merge(found[kept], on=["model", "seed"], how="inner", validate="one_to_many")
    return rows.join(weights.rename("parameters"), on=["model", "seed"])


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """The share of queries that miss, a mean over directions and seeds.

    Args:
        rows: of `measured`, with columns policy, towers and pairs.

    Returns:
        One row a policy, size and amount, with `parameters`, `error` and `chance`, the error of
        guessing.
    """
    keys = ["policy", "towers", "pairs", "parameters"]
    means = rows.groupby(keys, sort=False)[["value", "chance"]].mean().reset_index()
    means = means.assign(error=1 - means.value, chance=1 - means.chance)
    return means.drop(columns="value")


def band(points: pd.DataFrame, places: int = 50) -> pd.DataFrame:
    """The fit over the pairs, for a pair of towers of the grid's middle size, to be drawn.

    Args:
        points: of `errors`, of one policy.
        places: rows.

    Returns:
        Columns `pairs`, `value`, `low` and `high`; no row where there is no fit.
    """
    fitted = _fit(points)
    if fitted is None:
        return pd.DataFrame(columns=["pairs", "value", "low", "high"], dtype=float)
    along = np.geomspace(points.pairs.min(), points.pairs.max(), places)
    middle = np.exp(np.log(points.parameters).mean())
    line, (low, high) = fitted.at(np.column_stack([along, np.full(places, middle)]))
    return pd.DataFrame({"pairs": along, "value": line, "low": low, "high": high})


def evaluate(points: pd.DataFrame, *, data: str) -> list[Measurement]:
    """Whether each enlargement helps, and the powers that the error goes with.

    Args:
        points: of `errors`.
        data: that was asked.

    Returns:
        For each policy "better with more pairs" and "better with larger towers", the share of
        neighbours in the grid of which the larger one errs less, n of them; and where the grid has
        points enough, "exponent over pairs" and "exponent over parameters" with their intervals,
        and "r²", n points.
    """
    rows = []
    for policy, own in points.groupby("policy", sort=False):
        shared = {"model": policy, "data": data}
        table = own.pivot_table(index="parameters", columns="pairs", values="error")
        for axis, name in enumerate(("better with larger towers", "better with more pairs")):
            falls = np.diff(table.to_numpy(), axis=axis)
            falls = falls[~np.isnan(falls)] < 0
            if falls.size:
                share = float(falls.mean())
                rows.append(Measurement(metric=name, value=share, n=falls.size, **shared))
        if fitted := _fit(own):
            each = zip(FACTORS, fitted.exponents, fitted.intervals, strict=True)
            rows += [
                Measurement(metric=f"exponent over {factor}", value=value, low=ends.low,
                            high=ends.high, n=fitted.n, **shared)
                for factor, value, ends in each
            ]  # fmt: skip
            rows.append(Measurement(metric="r²", value=fitted.r_squared, n=fitted.n, **shared))
    return rows


def _fit(points: pd.DataFrame) -> trends.PowerLaw | None:
    """The power of both factors; None with too few points, or an error of zero."""
    varied = all(points[factor].nunique() > 1 for factor in FACTORS)
    if len(points) < len(FACTORS) + 2 or not varied or (points.error <= 0).any():
        return None
    return trends.power_law(points[list(FACTORS)].to_numpy(float), points.error.to_numpy(float))
