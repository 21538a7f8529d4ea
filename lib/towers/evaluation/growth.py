"""What more pairs and larger towers bring: recall over a grid of both, and powers of the error.

Source: Khan and Fu 2023, sections 3.3 and 6.4 to 6.7, Table 4, Figs. 6 to 10.
"""

import numpy as np
import pandas as pd

from towers import records
from towers.metrics import trends
from towers.records import Measurement

RUN = ["model", "towers", "pairs"]
FACTORS = ("pairs", "parameters")


def errors(frame: pd.DataFrame, k: int = 10) -> pd.DataFrame:
    """The share of queries that miss, a mean over directions and seeds.

    Args:
        frame: records of a grid's runs, with those of `retrieval.evaluate` and "parameters"; each
            at its `towers` and `pairs`.
        k: how many of the best candidates count.

    Returns:
        One row a model, size and amount, with `parameters`, `error` and `chance`, the error of
        guessing.
    """
    weights = records.select(frame, metric="parameters").groupby(RUN).value.first()
    means = records.select(frame, metric="recall", k=k).groupby(RUN, sort=False)
    missed = 1 - means[["value", "chance"]].mean().rename(columns={"value": "error"})
    return missed.join(weights.rename("parameters")).reset_index()


def band(points: pd.DataFrame, places: int = 50) -> pd.DataFrame:
    """The fit over the pairs, for a pair of towers of the grid's middle size, to be drawn.

    Args:
        points: of `errors`, of one model.
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
        For each model "better with more pairs" and "better with larger towers", the share of
        neighbours in the grid of which the larger one errs less, n of them; and where the grid has
        points enough, "exponent" at `over` "pairs" and "parameters" with their intervals, and "r²",
        n points.
    """
    rows = []
    for model, own in points.groupby("model", sort=False):
        shared = {"model": model, "data": data}
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
                Measurement(metric="exponent", value=value, low=ends.low, high=ends.high,
                            n=fitted.n, at={"over": factor}, **shared)
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
