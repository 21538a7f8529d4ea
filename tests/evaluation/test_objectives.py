"""Accuracy on scenes: what knows the labels has all right, what knows nothing has chance."""

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


def test_an_objective_that_knows_the_labels_has_all_right(monkeypatch):
    measure = SceneAccuracy(SCENES, "colour", batch=64)
    labels = iter(torch.from_numpy(SCENES.labels("colour")).split(64))
    monkeypatch.setattr(
        measure, "_scores", lambda *_: torch.nn.functional.one_hot(next(labels), measure.classes)
    )
    assert measure(SimpleNamespace(dual=DUAL)) == {"accuracy": 1.0}


@pytest.mark.parametrize("head", [False, True])
def test_an_untrained_objective_answers_as_its_scores_say(head):
    measure = SceneAccuracy(SCENES, "colour", batch=64)
    objective = SimpleNamespace(dual=DUAL.eval())
    texts = [sentences[0] for sentences in SCENES.prompts("colour")]
    if head:
        objective.head = BagOfWords(16, Vocabulary.of(texts))
    images = DUAL.image.transform.normalised(
        torch.from_numpy(SCENES.pixels(np.arange(len(SCENES))))
    )
    with torch.no_grad():
        scores = (
            objective.head.class_scores(DUAL.image(images), texts)
            if head
            else DUAL.embed_images(images) @ DUAL.embed_texts(DUAL.text.tokenize(texts)).T
        )
    right = (scores.argmax(1).numpy() == SCENES.labels("colour")).mean()
    assert measure(objective)["accuracy"] == pytest.approx(right, abs=1 / 300)
    assert measure.classes == 8


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0.1, 50.0), (0.2, 100.0), (0.25, 150.0), (0.3, 200.0), (0.0, 0.0), (0.41, None)],
)
def test_pairs_are_read_off_the_line_between_points(level, expected):
    found = objectives.pairs_to_reach(np.array([100, 200, 300]), np.array([0.2, 0.3, 0.4]), level)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_curve_has_the_evaluations_of_a_log():
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "evaluation": {"accuracy": 0.5}}]
    assert objectives.curve(log, batch=8).to_dict("list") == {"pairs": [16], "accuracy": [0.5]}


def test_the_common_level_is_what_all_runs_reach():
    curves = pd.DataFrame(
        {"objective": ["fast"] * 2 + ["slow"] * 2, "seed": 0, "pairs": [10, 20] * 2,
         "accuracy": [0.4, 0.8, 0.1, 0.2]}
    )  # fmt: skip
    rows = objectives.evaluate(curves, count=10, classes=5, data="toys")
    values = {(row.model, row.metric): row.value for row in rows}
    assert values["all", "common level"] == 0.2
    assert values["all", "chance"] == 0.2
    assert values["fast", "pairs to the common level"] == pytest.approx(5)
    assert values["slow", "pairs to the common level"] == pytest.approx(20)
    assert values["fast", "final accuracy"] == 0.8
    alone = objectives.evaluate(curves, count=10, classes=5, data="toys", level=0.5)
    assert [row.model for row in alone if "pairs" in row.metric] == ["fast"]
