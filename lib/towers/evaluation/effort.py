"""What a run takes: parameters, those that move, memory that training them holds, time per update.

Source: Khan and Fu 2023, Table 3 ("# Trainable", "% Trained"); Tschannen et al. 2023, Table 1.
"""

import copy
from collections.abc import Mapping, Sequence

import numpy as np

from towers import models
from towers.models import trainable
from towers.records import Measurement

FP32, HELD = 4, 3
"""Bytes of a number; numbers beside a weight that moves: its gradient and AdamW's two moments."""


def weigh(
    dual: models.DualTower,
    log: Sequence[Mapping],
    *,
    data: str,
    batch: int,
    policy: str = "everything",
    seed: int = 0,
) -> list[Measurement]:
    """What one run took on this machine.

    Args:
        dual: the trained pair; it stays as it is.
        log: of the run, as `training.logs.read` gives it.
        data: name of what it was trained on.
        batch: pairs per update.
        policy: what moved in it.
        seed: of the run.

    Returns:
        "parameters that move", "parameters" and "share that moves", of both towers with adapters
        and projections, what they share counted once; "memory of weights and optimiser (MB)",
        which is exact and counts no activations; "seconds per update", the median over the log, if
        it has updates; and, if they say so, "duplicates per batch", the median of captions that
        another pair of the batch has in the same words, so that a pair's own match is a negative.

    Raises:
        ValueError: a policy that does not suit the pair.
    """
    count = trainable.report(trainable.apply(copy.deepcopy(dual), policy, seed)).iloc[-1]
    held = FP32 * (count["parameters"] + HELD * count["trainable"])
    values = {
        "parameters that move": count["trainable"],
        "parameters": count["parameters"],
        "share that moves": count["share"],
        "memory of weights and optimiser (MB)": held / 1e6,
    }
    shared = {"model": dual.name, "data": data, "seed": seed}
    rows = [
        Measurement(metric=key, value=float(value), n=1, **shared) for key, value in values.items()
    ]
    speeds = [line["pairs_per_second"] for line in log if "pairs_per_second" in line]
    medians = {
        "seconds per update": [batch / speed for speed in speeds],
        "duplicates per batch": [line["duplicates"] for line in log if "duplicates" in line],
    }
    rows += [
        Measurement(metric=key, value=float(np.median(of_updates)), n=len(of_updates), **shared)
        for key, of_updates in medians.items() if of_updates
    ]  # fmt: skip
    return rows
