"""Accuracy on scenes: what knows the labels has all right, what knows nothing has chance."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from towers import models
from towers.data.scenes import Scenes
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
