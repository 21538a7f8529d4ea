"""Accuracy on scenes: what knows the labels has all right, what knows nothing has chance."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from towers import models
from towers.data.scenes import Scenes
from towers.evaluation import objectives
from towers.evaluation.objectives import SceneAccuracy
from towers.models.objectives import BagOfWords, Vocabulary

SCENES = Scenes(300, split="val", size=32)
DUAL = models.dual(
    "scratch:vit?image=32&patch=16&width=16&depth=1&heads=1",
    "scratch:bow?width=16&context=16&vocabulary=514", embed=8,
)  # fmt: skip


SETS = {"flat": SCENES, "outlines": replace(SCENES, style="outline")}
TASKS = ("colour", "shape")


def test_an_objective_that_knows_the_labels_has_all_right(monkeypatch):
    measure = SceneAccuracy(SETS, TASKS, batch=64)
    labels = {name: [SETS[name].labels(task) for task in TASKS] for name in SETS}
    drawn = {scenes.pixels(np.arange(64)).tobytes(): name for name, scenes in SETS.items()}
    names = iter([])

    def features(_, pixels):  # rows that say what set and place they are from
        nonlocal names
        if name := drawn.get(pixels.numpy().tobytes()):
            names = ((name, row) for row in range(300))
        return [next(names) for _ in pixels]

    def classes(_, texts):
        task = int(len(texts) == 12)
        return lambda rows: torch.stack(
            [torch.arange(len(texts)) == labels[name][task][row] for name, row in rows]
        ).int()

    monkeypatch.setattr(measure, "_features", features)
    monkeypatch.setattr(measure, "_classes", classes)
    assert set(measure(None).values()) == {1.0}
    assert measure.chance == (1 / 8 + 1 / 12) / 2


@pytest.mark.parametrize("head", [False, True])
def test_an_untrained_objective_answers_as_its_scores_say(head):
    measure = SceneAccuracy(SETS, TASKS, batch=64)
    objective = SimpleNamespace(dual=DUAL.eval())
    if head:
        texts = [said[0] for task in TASKS for said in SCENES.prompts(task)]
        objective.head = BagOfWords(16, Vocabulary.of(texts))
    found = measure(objective)
    assert list(found) == ["flat, colour", "flat, shape", "outlines, colour", "outlines, shape",
                           "accuracy"]  # fmt: skip
    for name, task in itertools.product(SETS, TASKS):
        right = _shares(objective, SETS[name], task)
        assert found[f"{name}, {task}"] == pytest.approx(right, abs=1 / 300)
    parts = [value for name, value in found.items() if name != "accuracy"]
    assert found["accuracy"] == pytest.approx(sum(parts) / 4)


def _shares(objective, scenes: Scenes, task: str) -> float:
    """Accuracy, all pictures at once."""
    texts = [said[0] for said in scenes.prompts(task)]
    images = DUAL.image.transform.normalised(
        torch.from_numpy(scenes.pixels(np.arange(len(scenes))))
    )
    with torch.no_grad():
        scores = (
            objective.head.class_scores(DUAL.image(images), texts)
            if hasattr(objective, "head")
            else DUAL.embed_images(images) @ DUAL.embed_texts(DUAL.text.tokenize(texts)).T
        )
    return float((scores.argmax(1).numpy() == scenes.labels(task)).mean())


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0.1, 50.0), (0.2, 100.0), (0.25, 150.0), (0.3, 200.0), (0.0, 0.0)],
)
def test_pairs_are_read_off_the_line_between_points(level, expected):
    found = objectives.pairs_to_reach(np.array([100, 200, 300]), np.array([0.2, 0.3, 0.4]), level)
    assert found == pytest.approx(expected)


def test_a_curve_has_the_evaluations_of_a_log():
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "evaluation": {"accuracy": 0.5}}]
    assert objectives.curve(log, batch=8).to_dict("list") == {"pairs": [16], "accuracy": [0.5]}


def made_up(*accuracies: tuple[str, int, float, float]) -> pd.DataFrame:
    """Curves of two points, after 10 and 20 pairs."""
    return pd.DataFrame(
        [
            {"objective": name, "seed": seed, "pairs": pairs, "accuracy": accuracy}
            for name, seed, *both in accuracies
            for pairs, accuracy in zip((10, 20), both, strict=True)
        ]
    )


def test_the_common_level_is_what_all_runs_reach():
    curves = made_up(("fast", 0, 0.4, 0.8), ("slow", 0, 0.1, 0.2))
    rows = objectives.evaluate(curves, count=10, chance=0.2, data="toys", against=["slow", "fast"])
    values = {(row.model, row.metric, *row.at.values()): row.value for row in rows}
    assert values["all", "common level"] == 0.2
    assert {row.chance for row in rows if row.metric == "final accuracy"} == {0.2}
    assert values["fast", "pairs to the common level"] == pytest.approx(5)
    assert values["slow", "pairs to the common level"] == pytest.approx(20)
    assert values["fast", "times fewer pairs", "slow"] == pytest.approx(4)
    assert values["slow", "times fewer pairs", "fast"] == pytest.approx(1 / 4)
    assert values["fast", "final accuracy"] == 0.8
    assert len(values) == 7  # one seed has no mean, and nothing is compared with itself


def test_ratios_are_of_the_same_seed_and_averaged_as_ratios():
    curves = made_up(
        ("fast", 0, 0.4, 0.8), ("slow", 0, 0.1, 0.2),  # 4 times fewer
        ("fast", 1, 0.2, 0.3), ("slow", 1, 0.2, 0.6),  # as many
    )  # fmt: skip
    rows = objectives.evaluate(curves, count=10, chance=0.2, data="toys", against=["slow"])
    (mean,) = [row for row in rows if row.at.get("averaged") == "seeds, geometrically"]
    assert (mean.model, mean.metric, mean.at["than"]) == ("fast", "times fewer pairs", "slow")
    reach = math.log(4) / 2 * 12.706204736  # of Student with one degree of freedom
    expected = (2, 2 * math.exp(-reach), 2 * math.exp(reach))
    assert (mean.value, mean.low, mean.high) == pytest.approx(expected)
    assert (mean.n, mean.seed) == (2, None)
    accuracy = {row.model: row.value for row in rows if row.at.get("averaged") == "seeds"}
    assert accuracy == pytest.approx({"fast": 0.55, "slow": 0.4})


def test_there_is_no_mean_of_those_seeds_alone_that_can_be_compared():
    curves = made_up(*(("fast", seed, 0.4, 0.8) for seed in range(3)),
                     *(("slow", seed, 0.3, 0.6) for seed in range(2)))  # fmt: skip
    rows = objectives.evaluate(curves, count=10, chance=0.2, data="toys", against=["slow"])
    ratios = [row.at for row in rows if row.metric == "times fewer pairs"]
    assert ratios == [{"than": "slow"}] * 2


def test_only_objectives_with_curves_are_compared_with():
    with pytest.raises(ValueError, match="expected against among fast; got slow; name objectives"):
        objectives.evaluate(
            made_up(("fast", 0, 0.4, 0.8)), count=10, chance=0.2, data="toys", against=["slow"]
        )
