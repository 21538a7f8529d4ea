"""Fine-tuning happens where the tower is: the meta device refuses to meet tensors of another."""

from dataclasses import replace

import numpy as np
import pytest

from towers import models
from towers.data.sentences import Examples, Task
from towers.evaluation import transfer

TUNED = transfer.Transfer(width=4, epochs=1, batch=2, finetune=True)
PIXELS = "scratch:pixels?image=32&patch=16&width=8&depth=1&heads=2"
WORDS = "scratch:transformer?width=8&depth=1&heads=2&context=8&vocabulary=600"
"""Tokens of pixels are patches and positions, those of words are ids."""


def task(classes):
    """Two sentences, with classes or scores."""
    targets = np.array([0, 1] if classes else [0.5, 2.0])
    part = Examples(("an owl", "two boats"), (), targets, ("a", "b"))
    return Task("toys", "accuracy" if classes else "Spearman", classes, part, {"toys": part})


@pytest.mark.parametrize("classes", [2, 0], ids=["classes", "scores"])
@pytest.mark.parametrize("name", [PIXELS, WORDS])
def test_all_that_a_tower_learns_from_goes_to_its_device(name, classes):
    """Without a GPU: what is learnt on the meta device has no numbers, which the copy of the
    answers back to the processor, the last step, is the first to miss."""
    tower = models.text_tower(name, device="meta")
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        transfer.answers(tower, task(classes), TUNED, seed=0)


def test_answers_of_a_tuned_tower_are_of_the_processor():
    tower = models.text_tower(WORDS)
    for classes in (2, 0):
        found = transfer.answers(tower, task(classes), replace(TUNED, epochs=2), seed=0)
        assert found["toys"].shape == (2,)
        assert np.isfinite(found["toys"]).all()
