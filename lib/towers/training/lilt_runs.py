"""LilT's runs: one start, one budget, and a policy that says what moves.

Source: Khan and Fu 2023, sections 2.4 and 3.1, Table 1.
"""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from towers import models
from towers.records import Measurement
from towers.training import schedules
from towers.training.budget import GB, Accelerator
from towers.training.kept_runs import kept
from towers.training.planning import plan
from towers.training.recipe import Recipe
from towers.training.runs import Finished
from towers.training.starts import Start

PAIRS, BATCH, EPOCHS, DEVICES, LR = 591_753, 512, 15, 4, 1e-4
"""Of the paper, section 2.4; the rate is that of the authors' code."""
STEPS_PER_EPOCH = PAIRS // BATCH
A6000 = Accelerator("A6000-48GB", 48 * GB, {"fp32": 38.7e12, "bf16": 154.8e12}, 0.8)
UPDATES = (0, STEPS_PER_EPOCH, EPOCHS * STEPS_PER_EPOCH // 2, EPOCHS * STEPS_PER_EPOCH - 1)
"""Whose learning rates are told: the first one, the peak, one halfway, the last one."""


def aligned(
    start: Start, recipe: Recipe, policies: dict[str, str], seeds: Iterable[int]
) -> dict[tuple[str, int], Finished]:
    """One start, aligned under several policies; every run is kept.

    Args:
        start: of all runs.
        recipe: the budget; its towers, policy, name and seed are replaced.
        policies: name of the model -> what moves, as `models.trainable` has it.
        seeds: of projections, adapters, order and drawn captions.

    Raises:
        TrainingError: as `kept`.
        ValueError: a policy that does not suit the towers.
    """
    towers = {"image": start.image, "text": start.text}
    return {
        (name, seed): kept(
            replace(recipe, policy=policy, name=name, seed=seed, **towers),
            start.pair(recipe.embed, seed),
        )
        for name, policy in policies.items()
        for seed in seeds
    }


def shares(frame: pd.DataFrame, size: models.lilt.Size = "base") -> list[Measurement]:
    """What moves in each configuration of the paper, as records.

    Args:
        frame: as `models.lilt.shares` gives it.
        size: of the towers it was made for.

    Returns:
        "share that moves" of each model, at `size`; n is the number of its parameters.
    """
    return [
        Measurement(
            model=row.model, data="the paper's towers", metric="share that moves",
            value=row.share, n=row.parameters, at={"size": size},
        )
        for row in frame.itertuples()
    ]  # fmt: skip


def memory(dual: models.DualTower, batch: int, *, model: str, seed: int) -> Measurement:
    """What training takes beside the weights: gradients, moments and activations.

    Args:
        dual: the pair, locked as the policy says.
        batch: pairs of an update.
        model: of the record.
        seed: of the run.

    Returns:
        "memory for training (MB)" in fp32, by tracing shapes; n pairs. A locked tower goes forward
        in every update, as in runs without `cache_features`.
    """
    found = plan(dual, batch, batch, precision="fp32", accelerator=A6000, overhead=0)
    taken = found.gradients + found.moments + found.activations
    return Measurement(model=model, data="training", metric="memory for training (MB)",
                       value=taken / 1e6, n=batch, seed=seed)  # fmt: skip


def planned(
    letters: str = "acfghkm", size: models.lilt.Size = "base", accelerator: Accelerator = A6000
) -> list[Measurement]:
    """What configurations of Table 1 would take at the paper's scale; nothing is computed.

    Args:
        letters: of the configurations.
        size: of both towers.
        accelerator: the paper had four A6000.

    Returns:
        For each configuration, called "(letter) name", "parameters that move", "share that moves",
        "memory per device (GB)" and "hours" at its `size`; of all "pairs", "updates", "batch" and
        the "learning rate" at each `update` of `UPDATES`, under half a cosine after one epoch of
        warm-up. Locked towers go forward in every update.

    Raises:
        ValueError: a letter that is none of the table's.
    """
    listed, shared = models.lilt_models(size), {"data": accelerator.name, "n": DEVICES}
    if unknown := [letter for letter in letters if letter not in listed]:
        raise ValueError(f"expected letters of {', '.join(listed)}, got {', '.join(unknown)}")
    rows = []
    for letter in letters:
        model = listed[letter]
        found = plan(model.build(), BATCH, PAIRS * EPOCHS, ranks=DEVICES, accelerator=accelerator)
        values = {
            "parameters that move": found.parameters, "share that moves": model.share,
            "memory per device (GB)": found.memory / GB, "hours": 24 * found.days,
        }  # fmt: skip
        rows += [
            Measurement(model=f"({letter}) {model.name}", metric=key, value=value,
                        at={"size": size}, **shared)
            for key, value in values.items()
        ]  # fmt: skip
    steps = EPOCHS * STEPS_PER_EPOCH
    common = {"pairs": PAIRS, "updates": steps, "batch": BATCH}
    rows += [
        Measurement(model="all", metric=key, value=value, **shared) for key, value in common.items()
    ]
    return rows + [
        Measurement(model="all", metric="learning rate", at={"update": update},
                    value=LR * schedules.cosine(update, steps, STEPS_PER_EPOCH), **shared)
        for update in UPDATES
    ]  # fmt: skip
