"""Means over seeds: what another training would change, beside what other pictures would."""

import math
from collections.abc import Collection, Sequence

import numpy as np

from towers import metrics
from towers.records import Measurement


def over_seeds(
    rows: Sequence[Measurement], wanted: Collection[str], *, geometric: bool = False
) -> list[Measurement]:
    """Means over seeds with Student's 95 % interval of them (`metrics.intervals.student`).

    Args:
        rows: of one or several seeds; those without a seed are left out.
        wanted: metrics to average.
        geometric: average the logarithms instead, as suits ratios: half and twice give one. Values
            must be above zero.

    Returns:
        For each model, data and metric with several seeds "mean METRIC", or "geometric mean
        METRIC", with its interval; n is the number of seeds. What one seed of a model lacks has no
        mean, as the seeds that have it would flatter it.

    Raises:
        ValueError: a value to be averaged geometrically is not above zero.
    """
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    seeds: dict[tuple[str, str], set[int]] = {}
    for row in (row for row in rows if row.seed is not None):
        seeds.setdefault((row.model, row.data), set()).add(row.seed)
        if row.metric in wanted:
            found.setdefault((row.model, row.data, row.metric), {})[row.seed] = row.value
    means = []
    for (model, data, metric), of_seed in found.items():
        if len(of_seed) < 2 or set(of_seed) != seeds[model, data]:
            continue
        value, low, high = _mean([*of_seed.values()], metric, geometric)
        name = f"{'geometric ' if geometric else ''}mean {metric}"
        means.append(
            Measurement(model=model, data=data, metric=name, value=value, low=low, high=high,
                        n=len(of_seed))
        )  # fmt: skip
    return means


def _mean(values: Sequence[float], metric: str, geometric: bool) -> tuple[float, float, float]:
    """The mean and both ends of its interval."""
    if not geometric:
        return float(np.mean(values)), *metrics.intervals.student(np.array(values))
    if min(values) <= 0:
        raise ValueError(
            f"expected values above zero of {metric!r} for a geometric mean, got {min(values)}; "
            "average them as they are"
        )
    logs = np.log(values)
    ends = (float(logs.mean()), *metrics.intervals.student(logs))
    return tuple(math.exp(end) for end in ends)
