"""The recipes of the CLIPPO chapters: one budget, one difference each."""

from dataclasses import asdict

import pytest

from towers import models, training
from towers.training import TrainingError, clippo_runs

IMAGE = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
COMMON = {
    "data": ("scenes:train?count=64&size=32&objects=1",),
    "steps": 30,
    "batch": 8,
    "warmup": 2,
}
PAIRS = ("captions:scenes:train?count=64&size=32&objects=1",)


def test_the_family_differs_in_the_text_tower_alone():
    family = clippo_runs.family(IMAGE, "context=4&vocabulary=600", COMMON)
    assert list(family) == [
        "CLIP*", "CLIPPO untied", "1T-CLIP", "CLIPPO", "CLIPPO separate heads",
        "CLIPPO separate embeddings", "CLIPPO separate embeddings and heads",
    ]  # fmt: skip
    rest = {
        str({k: v for k, v in asdict(each).items() if k not in ("text", "name")})
        for each in family.values()
    }
    assert len(rest) == 1
    assert len({each.text for each in family.values()}) == len(family)


def test_mixed_runs_see_as_many_pictures():
    recipe = clippo_runs.family(IMAGE, "context=4&vocabulary=600", COMMON)["CLIPPO"]
    mixed = clippo_runs.mixed(recipe, PAIRS, [0.25, 0.5])
    assert list(mixed) == ["CLIPPO + 25 % text", "CLIPPO + 50 % text"]
    for each in mixed.values():
        assert each.steps * (each.batch - each.text_batch) == recipe.steps * recipe.batch
        assert each.title in mixed


def test_a_share_of_no_whole_pairs_is_refused():
    recipe = training.Recipe(image=IMAGE, text="shared:pixels", **COMMON)
    with pytest.raises(TrainingError, match="expected text_pairs with a text_share"):
        clippo_runs.mixed(recipe, PAIRS, [0.01])


def test_another_image_tower_has_no_family():
    with pytest.raises(ValueError, match="expected an image tower like scratch:map"):
        clippo_runs.family("package:efficientnet-lite0", "context=4", COMMON)


def test_the_papers_runs_are_planned():
    rows = clippo_runs.planned()
    found = {(row.model, row.metric): row.value for row in rows}
    assert found["CLIPPO", "batch"] == 10_240
    assert found["CLIPPO", "updates"] == 250_000
    assert found["CLIPPO", "parameters"] == models.clippo_models()["CLIPPO"].parameters
    rates = [found["all", f"learning rate at update {each:,}"] for each in clippo_runs.UPDATES]
    wanted = [1e-3 / 10_001, 1e-3, 1e-3 / 2**0.5, 1e-3 / 10**0.5, 1e-3 / 24**0.5]
    assert rates[:5] == pytest.approx(wanted)
    assert 0 < rates[5] < 1e-7
    for name in clippo_runs.PLANNED:
        assert 5 < found[name, "memory per device (GB)"] < 80
        assert 0.5 < found[name, "days"] < 60
    assert found["CLIPPO L/16", "days"] > 2 * found["CLIPPO", "days"]
    assert len(rows) == 5 * len(clippo_runs.PLANNED) + len(clippo_runs.UPDATES)


def test_the_papers_fine_tuning_on_questions_is_planned():
    rows = clippo_runs.planned_answering()
    found = {(row.model, row.metric): row.value for row in rows}
    for name in clippo_runs.ANSWERING:
        pair = models.clippo_models()[name].parameters
        projection_and_scale = 768 * 768 + 768 + 1
        classifier = 769 * 3129
        assert found[name, "parameters"] == pair - projection_and_scale + classifier
        assert (found[name, "updates"], found[name, "batch"]) == (8_000, 256)
    small, large = (found[each, "memory per device (GB)"] for each in clippo_runs.ANSWERING)
    assert 10 < small < large / 2 < large < 80
    patches = 24**2 / 14**2
    small, large = (found[each, "hours"] for each in clippo_runs.ANSWERING)
    assert 0.99 * patches < large / small < 1.2 * patches
    assert small == pytest.approx(_hours_by_hand(), rel=0.06)
    rates = [found["all", f"learning rate at update {each:,}"]
             for each in clippo_runs.ANSWERING_UPDATES]  # fmt: skip
    assert rates[:3] == pytest.approx([0.1 / 801, 0.1, 0.05])
    assert 0 < rates[3] < 1e-8
    for update, rate in zip(clippo_runs.ANSWERING_UPDATES, rates, strict=True):
        assert found["all", f"classifier's learning rate at update {update:,}"] == 10 * rate


def _hours_by_hand():
    """Of B/16 at 224 pixels: 12 n d^2 + 2 n^2 d products a layer, three times, by 0.3 of a peak."""
    places, width = 196, 768
    layer = 12 * places * width**2 + 2 * places**2 * width
    pool = 2 * places * width**2 + 10 * width**2 + 2 * places * width
    products = 12 * layer + pool + places * width * 768 + 2 * width * 3129
    return 3 * 2 * products * 8_000 * 256 / (0.3 * 312e12) / 3_600
