"""Zero-shot accuracy while a run is on its way, for objectives of any kind.

Source: Radford et al. 2021, section 2.3 and Fig. 2: accuracy against pairs seen.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from towers import metrics
from towers.data.scenes import Scenes
from towers.records import Measurement


class SceneAccuracy:
    """Top-1 accuracy of an objective on labelled scenes, each class named by its sentence.

    A pair of towers answers with the nearest sentence; a head that predicts words answers with
    the sentence that it finds most probable.

    Attributes:
        classes: number of classes; chance is one over it.
        count: pictures that are asked about.
    """

    def __init__(self, scenes: Scenes, task: str, batch: int = 256) -> None:
        """Draw the pictures once.

        Args:
            scenes: of a split that was not trained on.
            task: of the scenes' labels, "combination" for example.
            batch: pictures per forward pass.
        """
        self._pixels = torch.from_numpy(scenes.pixels(np.arange(len(scenes))))
        self._labels = torch.from_numpy(scenes.labels(task))
        self._texts = [sentences[0] for sentences in scenes.prompts(task)]
        self._batch = batch
        self.classes, self.count = len(self._texts), len(scenes)

    @torch.no_grad()
    def __call__(self, objective) -> dict[str, float]:
        """`{"accuracy": ...}` of what `training.train` hands to its evaluation."""
        image, device = objective.dual.image, objective.dual.log_scale.device
        hits = 0
        for pixels, labels in zip(
            self._pixels.split(self._batch), self._labels.split(self._batch), strict=True
        ):
            images = image.transform.normalised(pixels.to(device))
            hits += (self._scores(objective, images).argmax(1).cpu() == labels).sum().item()
        return {"accuracy": hits / self.count}

    def _scores(self, objective, images: Tensor) -> Float[Tensor, "images classes"]:
        dual = objective.dual
        if hasattr(objective, "head"):
            return objective.head.class_scores(dual.image(images), self._texts)
        tokens = dual.text.tokenize(self._texts)
        texts = dual.embed_texts({name: t.to(images.device) for name, t in tokens.items()})
        return dual.embed_images(images) @ texts.T


def curve(log: Sequence[Mapping], batch: int) -> pd.DataFrame:
    """Accuracy against pairs seen, from the log of a run.

    Args:
        log: lines of the log; those of evaluations are read.
        batch: pairs of each update.

    Returns:
        Columns pairs and accuracy, one row an evaluation.
    """
    found = [(line["step"], line["evaluation"]) for line in log if "evaluation" in line]
    rows = [(step * batch, values["accuracy"]) for step, values in found]
    return pd.DataFrame(rows, columns=["pairs", "accuracy"])


def evaluate(
    curves: pd.DataFrame, *, count: int, classes: int, data: str, level: float | None = None
) -> list[Measurement]:
    """What each objective reached, and how many pairs it took to a common level.

    Args:
        curves: rows of `curve` with the columns objective and seed.
        count: pictures that each accuracy was measured on.
        classes: number of classes.
        data: that it was measured on.
        level: accuracy to reach; None: the lowest final accuracy of all runs.

    Returns:
        For each objective and seed "final accuracy" with its Clopper-Pearson interval, and
        "pairs to the common level" where it got there; once "common level" and "chance".

    Source: Radford et al. 2021, Fig. 2, whose factors are ratios of pairs at one accuracy.
    """
    runs = curves.sort_values("pairs").groupby(["objective", "seed"], sort=False)
    final = runs.accuracy.last()
    level = float(final.min()) if level is None else level
    shared = {"data": data, "n": count}
    rows = [
        Measurement(model="all", metric="common level", value=level, **shared),
        Measurement(model="all", metric="chance", value=1 / classes, **shared),
    ]
    for (objective, seed), run in runs:
        own = shared | {"model": str(objective), "seed": int(seed)}
        reached = float(final[objective, seed])
        low, high = metrics.intervals.clopper_pearson(round(reached * count), count)
        rows.append(Measurement(metric="final accuracy", value=reached, low=low, high=high, **own))
        pairs = pairs_to_reach(run.pairs.to_numpy(), run.accuracy.to_numpy(), level)
        if pairs is not None:
            rows.append(Measurement(metric="pairs to the common level", value=pairs, **own))
    return rows


def pairs_to_reach(
    pairs: Float[np.ndarray, " points"], accuracy: Float[np.ndarray, " points"], level: float
) -> float | None:
    """Pairs after which an accuracy was first reached, between two points on a straight line.

    Before the first point the line begins at no pairs and no accuracy. None: it never was.
    """
    pairs, accuracy = np.concatenate([[0], pairs]), np.concatenate([[0], accuracy])
    above = np.flatnonzero(accuracy >= level)
    if not len(above):
        return None
    first = int(above[0])
    if not first:
        return 0.0
    share = (level - accuracy[first - 1]) / (accuracy[first] - accuracy[first - 1])
    return float(pairs[first - 1] + share * (pairs[first] - pairs[first - 1]))
