"""LilT: the paper's shares, out of networks that are only shapes, its plans, and our recipes."""

from dataclasses import replace

import pytest
import torch

from towers import experiments, training
from towers.experiments.experiment import resolve
from towers.papers import lilt

D, BOTTLENECK, HEAD = 768, 192, 2 * (768 * 256 + 256) + 1
BLOCK = 12 * D * D + 13 * D
"""Parameters of a layer of either tower: four square matrices, a fourfold bottleneck, two norms."""
ADAPTER = 2 * D * BOTTLENECK + BOTTLENECK + D


def counted(letter, size="base"):
    return lilt.configurations(size)[letter].report().set_index("part")["trainable"]


def total(letter):
    return lilt.configurations()[letter].report().set_index("part")["parameters"]["pair"]


def test_the_sum_behind_0_24_percent():
    """Two norms a layer and one more, in both towers, and the projections."""
    found = counted("c")
    assert found["image tower"] == found["text tower"] == (12 * 2 + 1) * 2 * D
    assert found["projections and scale"] == HEAD
    assert round(100 * lilt.configurations()["c"].share, 2) == 0.24
    image = lilt.configurations()["c"].report().set_index("part")["share"]["image tower"]
    assert round(100 * image, 2) == 0.04  # without the projections


def test_the_sum_behind_0_31_percent():
    found = counted("e")
    biases = 12 * (4 * D + 4 * D + D + 2 * D)
    assert found["image tower"] == biases + 2 * D  # of the patches and the last norm
    assert found["text tower"] == biases + D  # of the norm behind the embeddings
    assert round(100 * lilt.configurations()["e"].share, 2) == 0.31


def test_adapters_are_under_seven_percent_without_layer_norms():
    alone = lilt.shares().set_index("model")
    layerwise, deep = (alone.loc[f"{kind} adapters alone"] for kind in ("layerwise", "deep"))
    assert layerwise["trainable"] == 2 * 24 * ADAPTER + HEAD
    assert deep["trainable"] == 2 * BLOCK + HEAD
    assert round(100 * layerwise["share"], 2) == 6.97
    assert round(100 * deep["share"], 2) == 6.96
    assert 2 * 24 * ADAPTER == 14_201_856


def test_with_layer_norms_they_come_to_seven_percent():
    norms = 2 * 25 * 2 * D
    assert counted("h")["pair"] == 2 * 24 * ADAPTER + norms + HEAD
    assert counted("f")["pair"] == 2 * BLOCK + norms + HEAD
    assert round(100 * lilt.configurations()["h"].share, 2) == 7.01
    assert round(100 * lilt.configurations()["f"].share, 2) == 7.0


def test_a_deep_adapter_is_about_seven_percent_of_a_bert():
    found = lilt.configurations()["f"].report().set_index("part")
    share = BLOCK / (found["parameters"]["text tower"] - BLOCK)
    assert share == pytest.approx(0.07, abs=0.006)


def test_full_training_moves_all_and_lit_a_little_more_than_half():
    assert lilt.configurations()["g"].share == 1.0
    assert counted("g")["pair"] == total("g") == 195_130_113
    assert 0.5 < lilt.configurations()["k"].share < 0.6
    assert counted("k")["image tower"] == 0


@pytest.mark.parametrize("size", ["base", "large"])
def test_all_rows_are_built_without_memory(size):
    rows = lilt.configurations(size)
    assert "".join(rows) == "abcdefghijklm"
    assert {letter for letter, row in rows.items() if row.given} == set("cfhkm")
    assert {weight.device.type for weight in rows["h"].build().parameters()} == {"meta"}
    assert all(0 < row.share <= 1 for row in rows.values())
    table = lilt.shares(size)
    parts = table[["image tower", "text tower", "projections and scale"]].sum(axis=1)
    assert (parts == table["trainable"]).all()


def test_large_towers_have_one_more_layer_of_their_own():
    wide = 12 * 1024**2 + 13 * 1024
    found = counted("f", "large")
    norms = {"image tower": 49 * 2 * 1024, "text tower": 49 * 2 * 1024}
    assert found["text tower"] == wide + norms["text tower"]
    assert found["image tower"] == wide + 2 * 1024 + norms["image tower"]  # and its layer scales


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="expected a size of base, large, got 'huge'"):
        lilt.configurations("huge")


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


def test_the_papers_runs_are_planned():
    rows = lilt.planned("aghk")
    found = {(row.model, row.metric): row.value for row in rows}
    clip, small = "(g) CLIP", "(h) LilT, layerwise adapters"
    lit, least = "(k) LiT", "(a) projections"
    assert {row.at["size"] for row in rows if row.model != "all"} == {"base"}
    models_of = lilt.configurations()
    assert found[clip, "share that moves"] == 1.0
    assert found[small, "share that moves"] == models_of["h"].share
    memory = {name: found[name, "memory per device (GB)"] for name in (clip, small, lit, least)}
    assert 48 > memory[clip] > memory[small] > memory[least]
    assert memory[clip] > memory[lit]
    hours = {name: found[name, "hours"] for name in (clip, small, lit, least)}
    assert hours[clip] > hours[small] > hours[least] > 0
    assert found["all", "updates"] == 15 * (591_753 // 512) == 17_325
    rates = {row.at["update"]: row.value for row in rows if row.metric == "learning rate"}
    assert tuple(rates) == lilt.UPDATES
    rates = [*rates.values()]
    assert rates[0] == pytest.approx(1e-4 / 1156)
    assert rates[1] == 1e-4
    assert rates[2] == pytest.approx(1e-4 * 0.5 * (1 + torch.tensor(
        (8662 - 1155) / (17_325 - 1155) * torch.pi).cos().item()), rel=1e-5)  # fmt: skip
    assert 0 < rates[3] < 1e-11


def test_shares_are_those_of_the_papers_towers():
    frame = lilt.shares()
    rows = lilt.shares_as_records(frame)
    found = {row.model: row for row in rows}
    assert len(rows) == len(frame) == 15
    assert {(row.metric, *row.at.items()) for row in rows} == {
        ("share that moves", ("size", "base"))
    }
    assert f"{found['layer norms'].value:.2%}" == "0.24%"
    assert f"{found['BitFit'].value:.2%}" == "0.31%"
    assert found["layerwise adapters alone"].value < 0.07
    assert found["CLIP"].n == 195_130_113


def test_less_memory_is_taken_where_less_moves():
    told = []
    for policy in ("projections", "image=locked,text=everything", "everything"):
        dual = training.pair(replace(RECIPE, policy=policy))
        told.append(lilt.memory(dual, 8, model=policy, seed=0).value)
    assert told == sorted(told)
    assert told[0] < told[1] < told[2]


def test_a_letter_that_is_no_row_is_refused():
    with pytest.raises(ValueError, match=r"expected letters of a, b, c, .*, got z"):
        lilt.planned("az")


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


@pytest.mark.parametrize("student", ["run:0123456789abcdef", ""])
def test_a_locked_image_tower_looks_once_and_one_that_moves_is_the_student(student):
    policies = {"projections": "projections", "LilT": "layerwise+layer-norms"}
    near = lilt.between(lilt.aligned(RECIPE, policies, [0]), student, {"LilT": 1e-5})
    assert near["projections", 0].image == RECIPE.image
    assert near["projections", 0].cache_features
    assert near["LilT", 0].image == (student or RECIPE.image)
    assert not near["LilT", 0].cache_features
    assert {key[0]: recipe.lr for key, recipe in near.items()} == {
        "projections": 5e-4,
        "LilT": 1e-5,
    }


def test_pictures_in_shards_are_read_as_they_come():
    far = replace(RECIPE, data=("shards:/data/{0..3}.tar",), policy="projections")
    assert not lilt.between({("far", 0): far}, "", {})["far", 0].cache_features


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


def test_the_papers_hours_grow_with_the_pairs():
    rows = lilt.planned_pairs([512, 51_200], "g")
    assert {row.model for row in rows} == {"(g) CLIP"}
    found = {(row.metric, row.at["pairs"]): row.value for row in rows}
    assert [found["updates", pairs] for pairs in (512, 51_200)] == [15, 1500]
    assert found["hours", 51_200] == pytest.approx(100 * found["hours", 512])
    assert found["hours", 512] > 0
