"""The paper's shares, out of networks that are only shapes."""

import pytest

from towers import models
from towers.models import lilt

D, BOTTLENECK, HEAD = 768, 192, 2 * (768 * 256 + 256) + 1
BLOCK = 12 * D * D + 13 * D
"""Parameters of a layer of either tower: four square matrices, a fourfold bottleneck, two norms."""
ADAPTER = 2 * D * BOTTLENECK + BOTTLENECK + D


def counted(letter, size="base"):
    return models.lilt_models(size)[letter].report().set_index("part")["trainable"]


def total(letter):
    return models.lilt_models()[letter].report().set_index("part")["parameters"]["pair"]


def test_the_sum_behind_0_24_percent():
    """Two norms a layer and one more, in both towers, and the projections."""
    found = counted("c")
    assert found["image tower"] == found["text tower"] == (12 * 2 + 1) * 2 * D
    assert found["projections and scale"] == HEAD
    assert round(100 * models.lilt_models()["c"].share, 2) == 0.24
    image = models.lilt_models()["c"].report().set_index("part")["share"]["image tower"]
    assert round(100 * image, 2) == 0.04  # without the projections


def test_the_sum_behind_0_31_percent():
    found = counted("e")
    biases = 12 * (4 * D + 4 * D + D + 2 * D)
    assert found["image tower"] == biases + 2 * D  # of the patches and the last norm
    assert found["text tower"] == biases + D  # of the norm behind the embeddings
    assert round(100 * models.lilt_models()["e"].share, 2) == 0.31


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
    assert round(100 * models.lilt_models()["h"].share, 2) == 7.01
    assert round(100 * models.lilt_models()["f"].share, 2) == 7.0


def test_a_deep_adapter_is_about_seven_percent_of_a_bert():
    found = models.lilt_models()["f"].report().set_index("part")
    share = BLOCK / (found["parameters"]["text tower"] - BLOCK)
    assert share == pytest.approx(0.07, abs=0.006)


def test_full_training_moves_all_and_lit_a_little_more_than_half():
    assert models.lilt_models()["g"].share == 1.0
    assert counted("g")["pair"] == total("g") == 195_130_113
    assert 0.5 < models.lilt_models()["k"].share < 0.6
    assert counted("k")["image tower"] == 0


@pytest.mark.parametrize("size", ["base", "large"])
def test_all_rows_are_built_without_memory(size):
    rows = models.lilt_models(size)
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
        models.lilt_models("huge")
