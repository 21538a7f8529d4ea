"""Chapters that share kept runs ask for the very same ones; else all would be trained twice."""

import pytest

from towers import experiments
from towers.experiments.experiment import resolve
from towers.records import SCALES

TRAINED = (
    "seeds", "image", "words", "world", "pictures", "sentences", "shares", "optimiser", "schedule",
    "steps", "batch", "lr", "weight_decay", "warmup", "embed",
)  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_the_gap_is_measured_on_the_pairs_of_one_tower(scale):
    trained, asked = (
        resolve(experiments.get(name), scale)
        for name in ("clippo/one_tower", "clippo/modality_gap")
    )
    assert {name: asked[name] for name in TRAINED} == {name: trained[name] for name in TRAINED}
