"""Ladders: runs that differ in what their step says, begun with towers that are read once."""

from dataclasses import replace

import pytest
from torch.nn import LayerNorm

from towers import models, training
from towers.models import trainable
from towers.training import ladders
from towers.training.ladders import Ladder, Step

IMAGE = "scratch:vit?image=32&patch=16&heads=2&depth=2&width="
TEXT = "scratch:transformer?heads=2&context=12&vocabulary=600&depth=2&width="
SHORT = {"steps": 2, "batch": 8, "warmup": 1, "embed": 4}
LADDER = Ladder(
    images={"big": f"{IMAGE}16", "tiny": f"{IMAGE}8"},
    texts={"big": f"{TEXT}16", "tiny": f"{TEXT}8"},
    policies={"LilT": "layerwise+layer-norms", "CLIP": "everything"},
    source="scenes:train?count={pairs}&size=32&objects=1",
    budget={"steps": 2, "batch": 8, "warmup": 1, "embed": 8, "checkpoint_every": 2},
    start={"world": "size=32&objects=1", "pictures": SHORT, "sentences": SHORT},
)
FIRST = Step("big", "big", "LilT", 16)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    LADDER._known.clear()


def test_a_grid_has_all_combinations():
    grid = ladders.grid(["big", "tiny"], ["LilT", "CLIP"], [16, 32], [0, 1])
    assert len(set(grid)) == 16
    assert {(step.image == step.text, step.pretrained) for step in grid} == {(True, "both")}
    assert {step.seed for step in ladders.changed(grid, seed=5)} == {5}


def test_a_title_says_what_is_special():
    assert FIRST.title == "LilT, big, 16 pairs"
    other = replace(FIRST, text="tiny", pairs=4000, pretrained="image")
    assert other.title == "LilT, big image, tiny text, 4,000 pairs, pretrained: image"


def test_a_step_s_conditions_are_what_its_records_are_told_apart_by():
    assert FIRST.at == {"towers": "big", "pairs": 16}
    other = replace(FIRST, text="tiny", pairs=4000, pretrained="image")
    assert other.at == {
        "towers": "big image, tiny text", "pairs": 4000, "pretrained": "image",
    }  # fmt: skip


def test_a_recipe_is_that_of_its_step():
    recipe = LADDER.recipe(replace(FIRST, text="tiny", policy="CLIP", seed=3))
    assert (recipe.image, recipe.text) == (f"{IMAGE}16", f"{TEXT}8")
    assert recipe.data == ("scenes:train?count=16&size=32&objects=1",)
    assert (recipe.policy, recipe.seed, recipe.steps) == ("everything", 3, 2)


def test_a_tower_that_shall_know_nothing_has_a_stand_in_or_is_refused():
    named = replace(LADDER, texts={"big": "hf:bert"})
    assert named.begins(FIRST).text == "hf:bert"
    assert named.begins(replace(FIRST, pretrained="text")).text == "hf:bert"
    with pytest.raises(training.TrainingError, match="from scratch where the text tower"):
        named.begins(replace(FIRST, pretrained="image"))
    stands_in = replace(named, drawn={"hf:bert": f"{TEXT}16"})
    assert stands_in.begins(replace(FIRST, pretrained="none")).text == f"{TEXT}16"


def test_pretrained_towers_are_read_once_and_never_changed(monkeypatch):
    asked = []
    kept = ladders.kept
    monkeypatch.setattr(ladders, "kept", lambda r, *a, **k: asked.append(r) or kept(r, *a, **k))
    first = replace(FIRST, pretrained="text")
    steps = [first, replace(first, policy="CLIP"), first, replace(first, pretrained="none")]
    done = LADDER.climb(steps, progress=False)
    assert [found.dual.name for found in done.values()] == [step.title for step in done]
    assert len(done) == 3
    assert [recipe.name for recipe in asked].count("before alignment") == 1
    before, after = LADDER.begins(first).pair(8, 0, progress=False), LADDER.pair(first, False)
    assert after.checksum == before.checksum
    assert after.text.adapters is None
    lilt = done[first].dual.text
    lilt.plain()
    old, new = (tower.encoder.state_dict() for tower in (before.text, lilt))
    norms = {name for name, module in lilt.encoder.named_modules() if isinstance(module, LayerNorm)}
    changed = {name for name in old if not old[name].equal(new[name])}
    assert changed
    assert {name.rpartition(".")[0] for name in changed} <= norms


def test_what_moves_is_the_policys():
    step = replace(FIRST, pretrained="none")
    found = LADDER.report(step).iloc[-1]
    drawn = models.dual(f"{IMAGE}16", f"{TEXT}16", 8, 0)
    wanted = trainable.report(trainable.apply(drawn, "layerwise+layer-norms")).iloc[-1]
    assert (found["trainable"], found["parameters"]) == (wanted["trainable"], wanted["parameters"])


def test_the_papers_hours_grow_with_the_pairs():
    rows = ladders.planned([512, 51_200], "g")
    assert {row.model for row in rows} == {"(g) CLIP"}
    found = {(row.metric, row.at["pairs"]): row.value for row in rows}
    assert [found["updates", pairs] for pairs in (512, 51_200)] == [15, 1500]
    assert found["hours", 51_200] == pytest.approx(100 * found["hours", 512])
    assert found["hours", 512] > 0
