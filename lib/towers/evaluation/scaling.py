"""How an error falls with size: power laws over models, compute, pairs or parameters.

Source: Radford et al. 2021, section 3.1.5 and Fig. 9; Khan and Fu 2023, sections 6.4 to 6.7.
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
    log: Sequence[Mapping], *, image: str, text: str, pairs: int, **run: object
) -> pd.DataFrame:
    """The errors that a finished run ended with, and what it took.

    Args:
        log: lines of the run's log, with at least one evaluation of accuracies.
        image: tower from scratch that was trained, as `models.dual` takes it.
        text: tower from scratch that was trained.
        pairs: that the run has seen.
        run: further columns, the model's name and its seed for example.

    Returns:
        One row an evaluation, and one for their "average", in the column `evaluation`; further
        columns `pairs`, `error`, `model FLOPs` (of one pair's forward pass), `training FLOPs`
        (forward and backward, over all pairs) and those of `run`.
    """
    last = [line["evaluation"] for line in log if "evaluation" in line][-1]
    flops = forward_flops(image, text)
    took = {"pairs": pairs, "model FLOPs": flops, "training FLOPs": (1 + BACKWARD) * flops * pairs}
    rows = [run | took | {"evaluation": name, "error": 1 - value} for name, value in last.items()]
    return pd.DataFrame(rows).replace({"evaluation": {"accuracy": "average"}})


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean error over seeds: one row a model, number of pairs and evaluation.

    Args:
        frame: rows of `errors`, with a column `model`.

    Returns:
        Smaller models first; with the column `frontier`: nothing that took no more compute in its
        training has a lower error in that evaluation.
    """
    keys = ["model", "pairs", "evaluation", "model FLOPs", "training FLOPs"]
    means = frame.groupby(keys, sort=False).error.mean().reset_index()
    means = means.sort_values(["model FLOPs", "pairs"], kind="stable", ignore_index=True)
    for _, part in means.groupby("evaluation"):
        best = trends.frontier(part["training FLOPs"].to_numpy(), part.error.to_numpy())
        means.loc[part.index, "frontier"] = best
    return means.astype({"frontier": bool})


def fit(points: pd.DataFrame, sizes: Sequence[str]) -> trends.PowerLaw | None:
    """The power law of the column `error` in some sizes.

    Args:
        points: one row a model and amount, seeds averaged.
        sizes: columns.

    Returns:
        None where there is none: fewer points than two more than sizes, a size that does not vary,
        or an error of zero.
    """
    varied = all(points[size].nunique() > 1 for size in sizes)
    if len(points) < len(sizes) + 2 or not varied or (points.error <= 0).any():
        return None
    return trends.power_law(points[list(sizes)].to_numpy(float), points.error.to_numpy(float))


def band(points: pd.DataFrame, sizes: Sequence[str], places: int = 50) -> pd.DataFrame:
    """The power law and its 95 % band along the first size, to be drawn.

    Args:
        points: as for `fit`.
        sizes: columns; all but the first stay at their geometric mean.
        places: rows.

    Returns:
        Columns of the first size's name, `value`, `low` and `high`; no row where there is no law.
    """
    law, along = fit(points, sizes), points[sizes[0]]
    if law is None:
        return pd.DataFrame(columns=[sizes[0], "value", "low", "high"], dtype=float)
    middle = np.exp(np.log(points[list(sizes)]).mean().to_numpy())
    where = np.tile(middle, (places, 1))
    where[:, 0] = np.geomspace(along.min(), along.max(), places)
    line, (low, high) = law.at(where)
    return pd.DataFrame({sizes[0]: where[:, 0], "value": line, "low": low, "high": high})


def evaluate(
    points: pd.DataFrame,
    sizes: Sequence[str],
    *,
    model: str,
    data: str,
    at: Mapping | None = None,
    seed: int | None = None,
) -> list[Measurement]:
    """The powers of some sizes that an error goes with.

    Args:
        points: as for `fit`.
        sizes: columns.
        model: of the records.
        data: that the error was measured on.
        at: conditions of the records.
        seed: of the points, where one trained them all.

    Returns:
        "exponent" at `over` each size (or what `at` says) with its 95 % interval, and "r²"; n
        points. Nothing where there is no law.
    """
    if (law := fit(points, sizes)) is None:
        return []
    shared, at = {"model": model, "data": data, "n": law.n, "seed": seed}, dict(at or {})
    return [
        Measurement(metric="exponent", value=value, low=ends.low, high=ends.high,
                    at={"over": size} | at, **shared)
        for size, value, ends in zip(sizes, law.exponents, law.intervals, strict=True)
    ] + [Measurement(metric="r²", value=law.r_squared, at=at, **shared)]  # fmt: skip


def better(points: pd.DataFrame, *, model: str, data: str) -> list[Measurement]:
    """Whether each step of a grid, to more pairs or to larger towers, lowers the error.

    Args:
        points: one row a place of the grid, with `parameters`, `pairs` and `error`.
        model: of the records.
        data: that the error was measured on.

    Returns:
        "better with larger towers" and "better with more pairs": the share of neighbours in the
        grid of which the larger one errs less, n of them.
    """
    grid = points.pivot_table(index="parameters", columns="pairs", values="error").to_numpy()
    rows = []
    for axis, step in enumerate(("larger towers", "more pairs")):
        changes = np.diff(grid, axis=axis)
        falls = changes[~np.isnan(changes)] < 0
        if falls.size:
            rows.append(Measurement(model=model, data=data, metric=f"better with {step}",
                                    value=float(falls.mean()), n=falls.size))  # fmt: skip
    return rows
