"""LilT's own towers: the paper's shares, out of networks that are only shapes, and its plans."""

from dataclasses import replace

import pytest
import torch

from towers import training
from towers.papers import lilt_models

D, BOTTLENECK, HEAD = 768, 192, 2 * (768 * 256 + 256) + 1
BLOCK = 12 * D * D + 13 * D
"""Parameters of a layer of either tower: four square matrices, a fourfold bottleneck, two norms."""
ADAPTER = 2 * D * BOTTLENECK + BOTTLENECK + D


def counted(letter, size="base"):
    return lilt_models.configurations(size)[letter].report().set_index("part")["trainable"]


def total(letter):
    return lilt_models.configurations()[letter].report().set_index("part")["parameters"]["pair"]


def test_the_sum_behind_0_24_percent():
    """Two norms a layer and one more, in both towers, and the projections."""
    found = counted("c")
    assert found["image tower"] == found["text tower"] == (12 * 2 + 1) * 2 * D
    assert found["projections and scale"] == HEAD
    assert round(100 * lilt_models.configurations()["c"].share, 2) == 0.24
    image = lilt_models.configurations()["c"].report().set_index("part")["share"]["image tower"]
    assert round(100 * image, 2) == 0.04  # without the projections


def test_the_sum_behind_0_31_percent():
    found = counted("e")
    biases = 12 * (4 * D + 4 * D + D + 2 * D)
    assert found["image tower"] == biases + 2 * D  # of the patches and the last norm
    assert found["text tower"] == biases + D  # of the norm behind the embeddings
    assert round(100 * lilt_models.configurations()["e"].share, 2) == 0.31


def test_adapters_are_under_seven_percent_without_layer_norms():
    alone = lilt_models.shares().set_index("model")
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
    assert round(100 * lilt_models.configurations()["h"].share, 2) == 7.01
    assert round(100 * lilt_models.configurations()["f"].share, 2) == 7.0


def test_a_deep_adapter_is_about_seven_percent_of_a_bert():
    found = lilt_models.configurations()["f"].report().set_index("part")
    share = BLOCK / (found["parameters"]["text tower"] - BLOCK)
    assert share == pytest.approx(0.07, abs=0.006)


def test_full_training_moves_all_and_lit_a_little_more_than_half():
    assert lilt_models.configurations()["g"].share == 1.0
    assert counted("g")["pair"] == total("g") == 195_130_113
    assert 0.5 < lilt_models.configurations()["k"].share < 0.6
    assert counted("k")["image tower"] == 0


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.slow
def test_all_rows_are_built_without_memory(size):
    rows = lilt_models.configurations(size)
    assert "".join(rows) == "abcdefghijklm"
    assert {letter for letter, row in rows.items() if row.given} == set("cfhkm")
    assert {weight.device.type for weight in rows["h"].build().parameters()} == {"meta"}
    assert all(0 < row.share <= 1 for row in rows.values())
    table = lilt_models.shares(size)
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
        lilt_models.configurations("huge")


@pytest.mark.slow
def test_the_papers_runs_are_planned():
    rows = lilt_models.planned("aghk")
    found = {(row.model, row.metric): row.value for row in rows}
    clip, small = "(g) CLIP", "(h) LilT, layerwise adapters"
    lit, least = "(k) LiT", "(a) projections"
    assert {row.at["size"] for row in rows if row.model != "all"} == {"base"}
    models_of = lilt_models.configurations()
    assert found[clip, "share that moves"] == 1.0
    assert found[small, "share that moves"] == models_of["h"].share
    memory = {name: found[name, "memory per device (GB)"] for name in (clip, small, lit, least)}
    assert 48 > memory[clip] > memory[small] > memory[least]
    assert memory[clip] > memory[lit]
    hours = {name: found[name, "hours"] for name in (clip, small, lit, least)}
    assert hours[clip] > hours[small] > hours[least] > 0
    assert found["all", "updates"] == 15 * (591_753 // 512) == 17_325
    rates = {row.at["update"]: row.value for row in rows if row.metric == "learning rate"}
    assert tuple(rates) == lilt_models.UPDATES
    rates = [*rates.values()]
    assert rates[0] == pytest.approx(1e-4 / 1156)
    assert rates[1] == 1e-4
    assert rates[2] == pytest.approx(1e-4 * 0.5 * (1 + torch.tensor(
        (8662 - 1155) / (17_325 - 1155) * torch.pi).cos().item()), rel=1e-5)  # fmt: skip
    assert 0 < rates[3] < 1e-11


RECIPE = training.Recipe(
    image="scratch:vit?image=32&patch=16&heads=2&depth=2&width=16",
    text="scratch:transformer?heads=2&context=12&vocabulary=600&depth=2&width=16",
    data=("scenes:train?count=32&size=32&objects=1",), embed=8, steps=3, batch=8, warmup=1,
)  # fmt: skip


def test_less_memory_is_taken_where_less_moves():
    told = []
    for policy in ("projections", "image=locked,text=everything", "everything"):
        dual = training.pair(replace(RECIPE, policy=policy))
        told.append(lilt_models.memory(dual, 8, model=policy, seed=0).value)
    assert told == sorted(told)
    assert told[0] < told[1] < told[2]


def test_a_letter_that_is_no_row_is_refused():
    with pytest.raises(ValueError, match=r"expected letters of a, b, c, .*, got z"):
        lilt_models.planned("az")


def test_the_papers_hours_grow_with_the_pairs():
    rows = lilt_models.planned_pairs([512, 51_200], "g")
    assert {row.model for row in rows} == {"(g) CLIP"}
    found = {(row.metric, row.at["pairs"]): row.value for row in rows}
    assert [found["updates", pairs] for pairs in (512, 51_200)] == [15, 1500]
    assert found["hours", 51_200] == pytest.approx(100 * found["hours", 512])
    assert found["hours", 512] > 0
