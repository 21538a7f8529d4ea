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
from towers.evaluation import comparisons
from towers.records import Measurement

FEWER = "times fewer pairs"


class SceneAccuracy:
    """Top-1 accuracy of an objective on labelled scenes, each class named by its sentence.

    A pair of towers answers with the nearest sentence; a head that predicts words answers with
    the sentence that it finds most probable.

    Attributes:
        chance: average over the evaluations of one over the number of classes.
        count: pictures of each set.
    """

    def __init__(self, sets: Mapping[str, Scenes], tasks: Sequence[str], batch: int = 256) -> None:
        """Draw the pictures once.

        Args:
            sets: name -> scenes of a split that was not trained on, all of one number.
            tasks: of the scenes' labels, "combination" for example; each is asked on each set.
            batch: pictures per forward pass.
        """
        self._sets = {
            name: (
                torch.from_numpy(scenes.pixels(np.arange(len(scenes)))),
                {task: torch.from_numpy(scenes.labels(task)) for task in tasks},
            )
            for name, scenes in sets.items()
        }
        first = next(iter(sets.values()))
        self._texts = {task: [said[0] for said in first.prompts(task)] for task in tasks}
        self._batch = batch
        self.count = len(first)
        self.chance = float(np.mean([1 / len(texts) for texts in self._texts.values()]))

    @torch.no_grad()
    def __call__(self, objective) -> dict[str, float]:
        """What `training.train` hands to its evaluation -> accuracies.

        Returns:
            "SET, TASK" -> its accuracy, and "accuracy", the average over all of them.
        """
        classes = {task: self._classes(objective, texts) for task, texts in self._texts.items()}
        right = {}
        for name, (pixels, labels) in self._sets.items():
            features = [self._features(objective, part) for part in pixels.split(self._batch)]
            for task, of_class in classes.items():
                guesses = torch.cat([of_class(part).argmax(1).cpu() for part in features])
                right[f"{name}, {task}"] = (guesses == labels[task]).double().mean().item()
        return right | {"accuracy": float(np.mean(list(right.values())))}

    def _features(self, objective, pixels: Tensor) -> Float[Tensor, "images width"]:
        dual = objective.dual
        images = dual.image.transform.normalised(pixels.to(dual.log_scale.device))
        return dual.image(images) if hasattr(objective, "head") else dual.embed_images(images)

    def _classes(self, objective, texts: list[str]):
        """From features of images to a score of each text."""
        if hasattr(objective, "head"):
            return lambda features: objective.head.class_scores(features, texts)
        dual = objective.dual
        tokens = dual.text.tokenize(texts)
        device = dual.log_scale.device
        embeds = dual.embed_texts({name: ids.to(device) for name, ids in tokens.items()})
        return lambda features: features @ embeds.T


def curve(log: Sequence[Mapping], batch: int) -> pd.DataFrame:
    """Accuracy against pairs seen, from the log of a run.

    Args:
        log: lines of the log; those of evaluations are read.
        batch: pairs of each update.

    Returns:
        Columns pairs and accuracy, one row an evaluation.
    """
    rows = [
        (line["step"] * batch, line["evaluation"]["accuracy"])
        for line in log
        if "evaluation" in line
    ]
    return pd.DataFrame(rows, columns=["pairs", "accuracy"])


def evaluate(
    curves: pd.DataFrame,
    *,
    count: int,
    chance: float,
    data: str,
    against: Sequence[str] = (),
) -> list[Measurement]:
    """What each objective reached, and how many pairs it took to the lowest final accuracy of all.

    Args:
        curves: rows of `curve` with the columns objective and seed.
        count: pictures that each accuracy was measured on.
        chance: accuracy of guessing.
        data: that it was measured on.
        against: objectives whose pairs are divided by those of each other one.

    Returns:
        For each objective and seed "final accuracy" beside chance, with its Clopper-Pearson
        interval, which is over pictures, "pairs to the common level", and "times fewer pairs" at
        `than` each name of `against`, by the run of the same seed; below 1, it took more. Where
        there are several seeds, the means of accuracies and the geometric means of the ratios over
        them (`comparisons.over_seeds`). Once "common level".

    Raises:
        ValueError: there are no curves of an objective in `against`.

    Source: Radford et al. 2021, Fig. 2, whose factors are ratios of pairs at one accuracy.
    """
    if unknown := set(against) - set(curves.objective):
        raise ValueError(
            f"expected against among {', '.join(curves.objective.unique())}; got "
            f"{', '.join(sorted(unknown))}; name objectives as the curves do"
        )
    runs = curves.sort_values("pairs").groupby(["objective", "seed"], sort=False)
    final = runs.accuracy.last()
    level = float(final.min())
    took = {
        key: pairs_to_reach(run.pairs.to_numpy(), run.accuracy.to_numpy(), level)
        for key, run in runs
    }
    rows = []
    for (objective, seed), accuracy in final.items():
        low, high = metrics.intervals.clopper_pearson(round(accuracy * count), count)
        shared = {"model": str(objective), "seed": int(seed), "data": data, "n": count}
        ends = {"low": low, "high": high, "chance": chance}
        rows.append(Measurement(metric="final accuracy", value=accuracy, **ends, **shared))
        pairs = took[objective, seed]
        rows.append(Measurement(metric="pairs to the common level", value=pairs, **shared))
        for name in against:
            if name != objective and (name, seed) in took:
                # a level of zero takes nobody any pairs
                times = took[name, seed] / pairs if pairs else 1.0
                rows.append(Measurement(metric=FEWER, value=times, at={"than": name}, **shared))
    means = comparisons.over_seeds(rows, ["final accuracy"])
    means += comparisons.over_seeds(rows, [FEWER], geometric=True)
    common = Measurement(model="all", metric="common level", value=level, data=data, n=count)
    return [common, *rows, *means]


def pairs_to_reach(
    pairs: Float[np.ndarray, " points"], accuracy: Float[np.ndarray, " points"], level: float
) -> float:
    """Pairs after which an accuracy was first reached, between two points on a straight line.

    Before the first point the line begins at no pairs and no accuracy.

    Args:
        pairs: seen at each evaluation, rising.
        accuracy: of each evaluation.
        level: at most the highest accuracy.
    """
    pairs, accuracy = np.concatenate([[0], pairs]), np.concatenate([[0], accuracy])
    first = int(np.argmax(accuracy >= level))
    if not first:
        return 0.0
    share = (level - accuracy[first - 1]) / (accuracy[first] - accuracy[first - 1])
    return float(pairs[first - 1] + share * (pairs[first] - pairs[first - 1]))
