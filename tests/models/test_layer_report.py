"""Parameters by layer: every one counted once, and what moves where it should."""

import pytest

from towers import models
from towers.models import layer_report, trainable

IMAGE = "scratch:vit?image=16&patch=8&width=16&depth=3&heads=2"
TEXT = "scratch:transformer?width=12&depth=2&heads=2&context=12&vocabulary=600"


def by_layer(policy):
    return layer_report.by_layer(trainable.apply(models.dual(IMAGE, TEXT, 8), policy))


@pytest.mark.parametrize("policy", [
    "everything", "projections", "nothing", "layer-norms", "bitfit", "layerwise+layer-norms",
    "deep+layer-norms", "image=locked,text=everything", "layer-norms?layers=1:",
])  # fmt: skip
def test_the_sums_are_those_of_the_report(policy):
    dual = trainable.apply(models.dual(IMAGE, TEXT, 8), policy)
    found = layer_report.by_layer(dual)
    told = trainable.report(dual).set_index("part")
    for side in ("image", "text"):
        inside = found[(found.tower == side) & (found.part != layer_report.HEAD)]
        assert inside.parameters.sum() == told.loc[f"{side} tower", "parameters"]
        assert inside.trainable.sum() == told.loc[f"{side} tower", "trainable"]
    scale = 1  # which belongs to no tower
    assert found.parameters.sum() == told.loc["pair", "parameters"] - scale


def test_parts_stand_in_the_order_of_the_network():
    found = by_layer("layer-norms")
    image = found[found.tower == "image"].part.drop_duplicates().tolist()
    assert image == ["input", "layer 1", "layer 2", "layer 3", "output", "projection"]


def test_norms_of_some_layers_move_alone():
    found = by_layer("layer-norms?layers=1:")
    moving = found[(found.trainable > 0) & (found.part != layer_report.HEAD)]
    assert set(moving.kind) == {"norms"}
    assert set(zip(moving.tower, moving.part, strict=True)) == {
        ("image", "layer 2"), ("image", "layer 3"), ("text", "layer 2"),
    }  # fmt: skip
    assert (moving.parameters == moving.trainable).all()


@pytest.mark.parametrize(("policy", "parts"), [
    ("layerwise", {"layer 1", "layer 2", "layer 3"}),
    ("deep", {"layer 4"}),
])  # fmt: skip
def test_adapters_stand_where_they_were_inserted(policy, parts):
    found = by_layer(policy)
    image = found[(found.tower == "image") & (found.kind == "adapters")]
    assert set(image.part) == parts
    assert (image.trainable == image.parameters).all()
