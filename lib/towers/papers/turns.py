"""How long an update takes under a policy, in turns with another: what disturbs one disturbs both.

The log of a run has such times too, each of another hour, beside whatever else its machine did.

Source: Khan and Fu 2023, section 1, which expects less memory and energy of moving less.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from towers import metrics
from towers.progress import tqdm
from towers.records import Measurement
from towers.training import making, processes, runs
from towers.training.batches import Batch
from towers.training.loop import Trainer
from towers.training.recipe import Recipe


def compare(
    recipe: Recipe,
    policies: Mapping[str, str],
    than: str,
    turns: int = 5,
    progress: bool = True,
) -> list[Measurement]:
    """Times of an update under each policy, in turns with one of them; nothing is written.

    Two models are in memory at a time. All see the recipe's first batch, again and again, so that
    reading is not timed; each comparison begins with a turn that warms up and does not count.

    Args:
        recipe: what is trained; its policy is replaced.
        policies: name of the model -> what moves, as `models.trainable` has it.
        than: the name that the others are compared with.
        turns: that count, at least two; an update of each model is one.
        progress: show a bar on a terminal.

    Returns:
        For each other model "relative time of an update" at `over` the one named, the geometric
        mean over turns with Student's 95 % interval, and for each model "seconds per update", the
        median over its turns on this machine. n is the number of turns.

    Raises:
        TrainingError: the recipe does not suit the device or its data.
        TrainingFailed: a loss or a gradient is not finite.
        ValueError: no such name to compare with, nothing beside it, fewer than two turns, or a
            policy that does not suit the pair.
    """
    others = [name for name in policies if name != than]
    if not others or len(others) == len(policies):
        raise ValueError(
            f"expected {than!r} and others to compare with it, got {', '.join(policies)}"
        )
    if turns < 2:
        raise ValueError(f"expected at least two turns, for an interval, got {turns}")
    parts = making.parts(recipe, runs.pair(recipe))

    def updates(policy: str) -> Callable[[], float]:
        return _updates(replace(recipe, policy=policy), parts)

    rows, seconds, other = [], {name: [] for name in [*others, than]}, updates(policies[than])
    with tqdm(total=len(others) * (1 + turns), desc="updates in turns",
              disable=None if progress else True) as bar:  # fmt: skip
        for name in others:
            mine, times = updates(policies[name]), []
            for _ in range(1 + turns):
                times.append((mine(), other()))
                bar.update()
            seconds[name], beside = np.array(times[1:]).T
            seconds[than].extend(beside)
            logs = np.log(seconds[name] / beside)
            value, low, high = map(math.exp, (logs.mean(), *metrics.intervals.student(logs)))
            rows.append(Measurement(
                model=name, data="training", metric="relative time of an update", value=value,
                low=low, high=high, n=turns, at={"over": than},
            ))  # fmt: skip
    return rows + [
        Measurement(model=name, data="training", metric="seconds per update",
                    value=float(np.median(times)), n=len(times))
        for name, times in seconds.items()
    ]  # fmt: skip


def _updates(recipe: Recipe, parts: making.Parts) -> Callable[[], float]:
    """Call it for the seconds of the next update."""
    pair = runs.pair(recipe)
    loop = Trainer(
        making.objective(recipe, pair, parts), making.with_length(recipe, parts), processes.start()
    )
    loop.objective.train()
    batches = list(itertools.islice(making.batches(loop, parts, 0), recipe.accumulate))
    return partial(_timed, loop, batches)


def _timed(loop: Trainer, batches: list[Batch]) -> float:
    begun = time.perf_counter()
    loop.update(0, iter(batches))
    if loop.device.type != "cpu":
        torch.get_device_module(loop.device).synchronize()
    return time.perf_counter() - begun
