"""Chapters that share kept runs ask for the very same ones; else all would be trained twice."""

import pytest

from towers import experiments
from towers.experiments.experiment import resolve
from towers.records import SCALES

TRAINED = (
    "image", "words", "packed", "train_on", "optimiser", "schedule", "steps", "batch", "lr",
    "weight_decay", "warmup", "embed",
)  # fmt: skip
MIXED = ("seeds", "sentences", "shares")
ALIGNED = ("seeds", "image", "text", "train_on", "policies", "budget", "rates", "student")
BEGUN = ("image", "text", "pictures", "sentences")
ABLATED = (
    *BEGUN, "before", "seeds", "world", "pairs", "steps", "batch", "lr", "weight_decay", "warmup",
    "embed",
)  # fmt: skip
SHARING = ("clippo/modality_gap", "clippo/vqa")


def asked(name, scale):
    """The parameters of a chapter's runs, whether they stand alone or together."""
    values = resolve(experiments.get(name), scale)
    return values | values.get("contrastive", {})


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SHARING)
def test_chapters_start_from_the_pairs_of_one_tower(name, scale):
    trained, own = asked("clippo/one_tower", scale), asked(name, scale)
    keys = TRAINED + MIXED if "shares" in own else TRAINED
    assert {key: own[key] for key in keys} == {key: trained[key] for key in keys}


@pytest.mark.parametrize("name", SHARING)
def test_they_wait_for_one_tower_instead_of_its_locks(name):
    assert "clippo/one_tower" in experiments.get(name).needs


@pytest.mark.parametrize("scale", ["smoke", "laptop"])  # at paper scale the texts' tower differs
def test_unseen_languages_are_asked_of_the_pairs_that_were_aligned(scale):
    trained, own = asked("lilt/alignment", scale), asked("lilt/unseen_languages", scale)
    assert {key: own[key] for key in ALIGNED} == {key: trained[key] for key in ALIGNED}


@pytest.mark.parametrize("scale", ["smoke", "laptop"])
@pytest.mark.parametrize("name", ["lilt/layer_norms", "lilt/released_code"])
def test_pairs_of_the_ablation_are_asked_again(name, scale):
    trained, own = asked("lilt/ablation", scale), asked(name, scale)
    keys = set(ABLATED) - {"seeds"} if scale == "smoke" else ABLATED
    assert {key: own[key] for key in keys} == {key: trained[key] for key in keys}


def test_the_largest_towers_to_scale_are_those_of_the_ablation():
    trained, own = asked("lilt/ablation", "laptop"), asked("lilt/scaling", "laptop")
    for key in ("image", "text"):
        own[key] = own[key].format(size=own["base"])
    assert {key: own[key] for key in BEGUN} == {key: trained[key] for key in BEGUN}
    assert own["world"] == trained["before"]
