"""Do two runs of one recipe, on other numbers of ranks, come to the same?"""

from pathlib import Path

import numpy as np
import pandas as pd

from towers.models import checkpoints
from towers.records import Measurement
from towers.training import logs
from towers.training.errors import TrainingError
from towers.training.folder import FINAL


def updates(folder: Path, run: str) -> pd.DataFrame:
    """The log of a run, one row an update, with its name in the column `run`."""
    return pd.DataFrame([line for line in logs.read(folder) if "loss" in line]).assign(run=run)


def evaluate(
    folder: Path, other: Path, *, model: str, data: str, seed: int | None = None
) -> list[Measurement]:
    """How far two finished runs of one recipe lie apart.

    Sums over ranks are taken in another order than sums over a batch, so that the same run differs
    by rounding, which the optimiser carries on.

    Args:
        folder: of a run.
        other: of the other.
        model: what was trained, for the records.
        data: that it was trained on.
        seed: of both runs.

    Returns:
        "largest relative difference of the loss", over all updates, and "largest difference of a
        weight", beside "largest weight", over all weights at the end.

    Raises:
        TrainingError: other numbers of updates, or other weights.
    """
    losses = [updates(each, "").loss.to_numpy() for each in (folder, other)]
    weights = [checkpoints.read(Path(each) / FINAL)[1] for each in (folder, other)]
    if len(losses[0]) != len(losses[1]) or weights[0].keys() != weights[1].keys():
        raise TrainingError(
            f"expected two finished runs of one recipe, got {len(losses[0])} and {len(losses[1])} "
            "updates; run both to their end"
        )
    apart = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
    values = {
        "largest relative difference of the loss": np.max(np.abs(losses[0] / losses[1] - 1)),
        "largest difference of a weight": apart,
        "largest weight": max(tensor.abs().max().item() for tensor in weights[0].values()),
    }
    return [
        Measurement(model=model, data=data, metric=metric, value=float(value), n=len(losses[0]),
                    seed=seed)
        for metric, value in values.items()
    ]  # fmt: skip
