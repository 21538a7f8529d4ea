"""Chapters that share kept runs ask for the very same ones; else all would be trained twice."""

import pytest

from towers import experiments
from towers.experiments.experiment import resolve
from towers.records import SCALES

TRAINED = (
    "seeds", "image", "words", "world", "pictures", "sentences", "shares", "optimiser", "schedule",
    "steps", "batch", "lr", "weight_decay", "warmup", "embed",
)  # fmt: skip
ALIGNED = ("seeds", "image", "text", "train_on", "policies", "budget", "rates", "student")


@pytest.mark.parametrize("scale", SCALES)
def test_the_gap_is_measured_on_the_pairs_of_one_tower(scale):
    trained, asked = (
        resolve(experiments.get(name), scale)
        for name in ("clippo/one_tower", "clippo/modality_gap")
    )
    assert {name: asked[name] for name in TRAINED} == {name: trained[name] for name in TRAINED}


@pytest.mark.parametrize("scale", ["smoke", "laptop"])  # at paper scale the texts' tower differs
def test_unseen_languages_are_asked_of_the_pairs_that_were_aligned(scale):
    trained, asked = (
        resolve(experiments.get(name), scale)
        for name in ("lilt/alignment", "lilt/unseen_languages")
    )
    assert {name: asked[name] for name in ALIGNED} == {name: trained[name] for name in ALIGNED}
