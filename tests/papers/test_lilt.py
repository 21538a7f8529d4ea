"""LilT: the recipes of our runs, and where their layer norms move."""

import copy
from dataclasses import replace

import pytest
import torch

from towers import experiments, models, training
from towers.experiments.experiment import resolve
from towers.models import trainable
from towers.models.stacks import stack
from towers.papers import lilt

IMAGE = "scratch:vit?image=32&patch=16&heads=2&depth=2&width="
TEXT = "scratch:transformer?heads=2&context=12&vocabulary=600&depth=2&width="
SHORT = {"steps": 2, "batch": 8, "warmup": 1, "embed": 4}
SCENES = "scenes:train?count=32&size=32&objects=1"
RECIPE = training.Recipe(
    image=f"{IMAGE}16", text=f"{TEXT}16", data=(SCENES,), embed=8, steps=3, batch=8, warmup=1,
)  # fmt: skip
WORLD = "size=32&objects=1&families=description,place"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


@pytest.mark.slow
def test_neither_tower_meets_the_other_before_they_are_aligned():
    image, text = lilt.apart(f"{IMAGE}16", f"{TEXT}16", WORLD, SHORT, SHORT)
    assert image.startswith("run:")
    assert text.startswith("run:")
    drawn, pair = (
        training.pair(replace(RECIPE, **each)) for each in ({}, {"image": image, "text": text})
    )
    assert pair.image.checksum != drawn.image.checksum
    assert pair.text.checksum != drawn.text.checksum
    assert torch.equal(pair.image_proj.weight, drawn.image_proj.weight)


def test_towers_that_bring_weights_learn_nothing_apart():
    named = "package:efficientnet-lite0", "package:minilm"
    assert lilt.apart(*named, WORLD) == named


def test_runs_differ_in_policy_and_seed_alone():
    policies = {"LiT": "image=locked,text=everything", "LilT": "layerwise+layer-norms"}
    recipes = lilt.aligned(RECIPE, policies, [0, 1])
    assert list(recipes) == [("LiT", 0), ("LiT", 1), ("LilT", 0), ("LilT", 1)]
    for (name, seed), recipe in recipes.items():
        wanted = replace(RECIPE, name=name, policy=policies[name], seed=seed)
        assert recipe == wanted


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_ablation_s_budget_is_its_parameters(scale):
    given = resolve(experiments.get("lilt/ablation"), scale)
    recipe = lilt.ablated(given)
    for name in ("steps", "batch", "lr", "weight_decay", "warmup", "embed"):
        assert getattr(recipe, name) == given[name]
    scenes = f"scenes:train?count={given['pairs']}&{given['world']}"
    assert recipe.data == (given["data"] or scenes,)
    pretrained = given["image"].startswith("scratch:")
    assert recipe.image.startswith("run:") if pretrained else recipe.image == given["image"]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_the_alignment_s_recipes_are_its_parameters(scale):
    given = resolve(experiments.get("lilt/alignment"), scale)
    found = lilt.between_pretrained(given)
    assert list(found) == [(name, s) for name in given["policies"] for s in given["seeds"]]
    for (name, _), recipe in found.items():
        assert recipe.policy == given["policies"][name]
        rate = given["budget"].get("lr", training.Recipe.lr)
        assert recipe.lr == given["rates"].get(name, rate)
        moves = recipe.policy in ("everything", "layerwise+layer-norms")
        assert recipe.image.startswith("run:") == (moves and bool(given["student"]))


def alignment(student, **changes):
    """What `lilt/alignment` would be given for towers that are small."""
    given = {
        "image": RECIPE.image, "text": RECIPE.text, "train_on": [SCENES], "seeds": [0],
        "policies": {"projections": "projections", "LilT": "layerwise+layer-norms"},
        "budget": {"steps": 3, "batch": 8, "warmup": 1, "embed": 8, "lr": 5e-4},
        "rates": {"LilT": 1e-5}, "student": student,
    }  # fmt: skip
    return lilt.between_pretrained(given | changes)


@pytest.mark.parametrize("student", [{"data": [SCENES], "steps": 2}, {}])
def test_a_locked_image_tower_looks_once_and_one_that_moves_is_the_student(student, monkeypatch):
    names = {(RECIPE.image, 2): "run:0123456789abcdef"}
    monkeypatch.setattr(lilt.zoo, "distilled", lambda teacher, data, steps: (teacher, steps))
    monkeypatch.setattr(lilt, "named", names.__getitem__)
    near = alignment(student)
    assert near["projections", 0].image == RECIPE.image
    assert near["projections", 0].cache_features
    assert near["LilT", 0].image == ("run:0123456789abcdef" if student else RECIPE.image)
    assert not near["LilT", 0].cache_features
    assert {name: recipe.lr for (name, _), recipe in near.items()} == {
        "projections": 5e-4,
        "LilT": 1e-5,
    }


def test_pictures_in_shards_are_read_as_they_come():
    far = alignment({}, train_on=["shards:/data/{0..3}.tar"])
    assert not far["projections", 0].cache_features


GRID = {
    "images": {"big": f"{IMAGE}16", "tiny": f"{IMAGE}8"},
    "texts": {"big": f"{TEXT}16", "tiny": f"{TEXT}8"},
    "policies": {"LilT": "layerwise+layer-norms", "CLIP": "everything"},
    "source": "scenes:train?count={pairs}&size=32&objects=1",
    "pretraining": {"world": "size=32&objects=1", "pictures": SHORT, "sentences": SHORT},
    "drawn": {}, "steps": 2, "batch": 8, "warmup": 1, "embed": 8,
}  # fmt: skip
FIRST = lilt.Scaled("big", "big", "LilT", 16)


def test_a_title_says_what_is_special():
    assert FIRST.title == "LilT, big, 16 pairs"
    other = replace(FIRST, text="tiny", pairs=4000, pretrained="image")
    assert other.title == "LilT, big image, tiny text, 4,000 pairs, pretrained: image"


def test_conditions_are_what_records_are_told_apart_by():
    assert FIRST.at == {"towers": "big", "pairs": 16}
    other = replace(FIRST, text="tiny", pairs=4000, pretrained="image")
    assert other.at == {
        "towers": "big image, tiny text", "pairs": 4000, "pretrained": "image",
    }  # fmt: skip


@pytest.mark.parametrize("pretrained", ["both", "image", "text", "none"])
def test_a_recipe_of_the_grid_begins_with_what_is_pretrained(pretrained):
    run = replace(FIRST, text="tiny", policy="CLIP", seed=3, pretrained=pretrained)
    recipe = lilt.scaled(run, **GRID)
    assert recipe.data == ("scenes:train?count=16&size=32&objects=1",)
    assert (recipe.policy, recipe.seed, recipe.steps) == ("everything", 3, 2)
    for side, name in (("image", f"{IMAGE}16"), ("text", f"{TEXT}8")):
        begins = getattr(recipe, side)
        assert begins.startswith("run:") if pretrained in ("both", side) else begins == name


def test_a_tower_that_shall_know_nothing_has_a_stand_in_or_is_refused():
    grid = GRID | {"texts": {"big": "hf:bert"}}
    assert lilt.scaled(FIRST, **grid).text == "hf:bert"
    with pytest.raises(training.TrainingError, match="from scratch where the text tower"):
        lilt.scaled(replace(FIRST, pretrained="image"), **grid)
    grid["drawn"] = {"hf:bert": f"{TEXT}16"}
    assert lilt.scaled(replace(FIRST, pretrained="none"), **grid).text == f"{TEXT}16"


def test_another_word_for_what_is_pretrained_is_refused():
    with pytest.raises(training.TrainingError, match="both, image, text or none, got 'all'"):
        lilt.scaled(replace(FIRST, pretrained="all"), **GRID)


DEEP = "scratch:vit?image=16&patch=8&width=16&depth=4&heads=2"
DEEP_TEXT = "scratch:transformer?width=12&depth=4&heads=2&context=12&vocabulary=600"


def test_a_change_is_the_sum_of_absolute_differences():
    before = models.dual(DEEP, DEEP_TEXT, 8)
    after = copy.deepcopy(before)
    layers = stack(after.image.encoder, "image").layers
    with torch.no_grad():
        layers[2].ln_2.weight -= 0.5
        layers[2].ln_2.bias[:3] += 2
    found = lilt.changes_of_norms(before, after).set_index(["tower", "layer", "norm"]).change
    assert found["image", 3, 2] == pytest.approx(16 * 0.5 + 3 * 2)
    assert found.sum() == pytest.approx(14)
    assert len(found) == 2 * (4 + 4)


@pytest.mark.parametrize("adapters", ["layerwise", "layerwise?zero=true", "deep"])
def test_adapters_that_hang_on_a_norm_are_no_part_of_its_change(adapters):
    before = trainable.apply(models.dual(DEEP, DEEP_TEXT, 8), f"{adapters}+layer-norms")
    after = copy.deepcopy(before)
    with torch.no_grad():
        for tower in (after.image, after.text):
            for name in tower.adapters.names(tower.encoder, tower.name):
                tower.encoder.get_parameter(name).add_(1)
        stack(after.image.encoder, "image").layers[1].ln_1.bias[:2] += 3
    found = lilt.changes_of_norms(before, after).set_index(["tower", "layer", "norm"]).change
    own = found[found.index.get_level_values("layer") <= 4]
    assert own["image", 2, 1] == pytest.approx(2 * 3)
    assert own.sum() == pytest.approx(2 * 3)


def test_towers_of_other_depths_are_refused():
    other = models.dual(DEEP.replace("depth=4", "depth=3"), DEEP_TEXT, 8)
    with pytest.raises(ValueError, match="expected the same layer norms before and after in the"):
        lilt.changes_of_norms(models.dual(DEEP, DEEP_TEXT, 8), other)


def test_patterns_lock_opposite_ends():
    found = lilt.patterns({"image": 4, "text": 4})
    assert list(found) == ["none locked", "A, 1 locked", "B, 1 locked", "A, 2 locked",
                           "B, 2 locked", "A, 3 locked", "B, 3 locked"]  # fmt: skip
    moving = {}
    for name in ("none locked", "A, 1 locked", "B, 1 locked"):
        dual = trainable.apply(models.dual(DEEP, DEEP_TEXT, 8), found[name])
        moving[name] = [
            {number for number, layer in enumerate(stack(tower.encoder, "").layers, 1)
             if any(weight.requires_grad for weight in layer.parameters())}
            | {name for name, weight in tower.encoder.named_parameters()
               if weight.requires_grad and not name.startswith(stack(tower.encoder, "").path)}
            for tower in (dual.image, dual.text)
        ]  # fmt: skip
    assert moving == {
        "none locked": [{1, 2, 3, 4}, {1, 2, 3, 4}],
        "A, 1 locked": [{2, 3, 4}, {1, 2, 3}],
        "B, 1 locked": [{1, 2, 3}, {2, 3, 4}],
    }


def test_a_single_layer_has_no_pattern():
    with pytest.raises(ValueError, match="expected towers of at least two layers"):
        lilt.patterns({"image": 1, "text": 4})
