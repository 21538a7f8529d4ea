"""Changes of layer norms, against sums and coefficients worked out by hand."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from towers import models
from towers.evaluation import layer_norms
from towers.models import trainable
from towers.models.stacks import stack

IMAGE = "scratch:vit?image=16&patch=8&width=16&depth=4&heads=2"
TEXT = "scratch:transformer?width=12&depth=4&heads=2&context=12&vocabulary=600"


def test_a_change_is_the_sum_of_absolute_differences():
    before = models.dual(IMAGE, TEXT, 8)
    after = copy.deepcopy(before)
    layers = stack(after.image.encoder, "image").layers
    with torch.no_grad():
        layers[2].ln_2.weight -= 0.5
        layers[2].ln_2.bias[:3] += 2
    found = layer_norms.moves(before, after).set_index(["tower", "layer", "norm"]).change
    assert found["image", 3, 2] == pytest.approx(16 * 0.5 + 3 * 2)
    assert found.sum() == pytest.approx(14)
    assert len(found) == 2 * (4 + 4)


@pytest.mark.parametrize("adapters", ["layerwise", "layerwise?zero=true", "deep"])
def test_adapters_that_hang_on_a_norm_are_no_part_of_its_change(adapters):
    before = trainable.apply(models.dual(IMAGE, TEXT, 8), f"{adapters}+layer-norms")
    after = copy.deepcopy(before)
    with torch.no_grad():
        for tower in (after.image, after.text):
            for name in tower.adapters.names(tower.encoder, tower.name):
                tower.encoder.get_parameter(name).add_(1)
        stack(after.image.encoder, "image").layers[1].ln_1.bias[:2] += 3
    found = layer_norms.moves(before, after).set_index(["tower", "layer", "norm"]).change
    own = found[found.index.get_level_values("layer") <= 4]
    assert own["image", 2, 1] == pytest.approx(2 * 3)
    assert own.sum() == pytest.approx(2 * 3)


def test_towers_of_other_depths_are_refused():
    other = models.dual(IMAGE.replace("depth=4", "depth=3"), TEXT, 8)
    with pytest.raises(ValueError, match="expected the same layer norms before and after in the"):
        layer_norms.moves(models.dual(IMAGE, TEXT, 8), other)


def test_r_and_the_ratio_are_those_of_the_formula():
    layers = np.repeat(np.arange(1, 5), 2)
    change = np.array([1.0, 3, 2, 4, 5, 4, 9, 6])
    frame = pd.concat(
        [
            pd.DataFrame(
                {"tower": side, "layer": layers, "norm": [1, 2] * 4, "change": sign * change}
            )
            for side, sign in (("image", 1), ("text", -1))
        ]
    )
    rows = layer_norms.evaluate(frame, model="m", data="d", seed=3)
    found = {(row.metric, row.at["tower"]): row for row in rows}
    x, y = layers - layers.mean(), change - change.mean()
    r = (x @ y) / np.sqrt((x @ x) * (y @ y))
    image, text = (found["r of change and depth", side] for side in ("image", "text"))
    assert image.value == pytest.approx(r)
    assert text.value == pytest.approx(-r)
    reach = 1.959964 / np.sqrt(8 - 3)  # Fisher's
    assert image.low == pytest.approx(np.tanh(np.arctanh(r) - reach))
    assert image.high == pytest.approx(np.tanh(np.arctanh(r) + reach))
    assert found["deepest over shallowest", "image"].value == pytest.approx(7.5 / 2)
    assert {row.n for row in rows} == {8}
    assert {row.seed for row in rows} == {3}


def test_patterns_lock_opposite_ends():
    found = layer_norms.patterns({"image": 4, "text": 4})
    assert list(found) == ["none locked", "A, 1 locked", "B, 1 locked", "A, 2 locked",
                           "B, 2 locked", "A, 3 locked", "B, 3 locked"]  # fmt: skip
    moving = {}
    for name in ("none locked", "A, 1 locked", "B, 1 locked"):
        dual = trainable.apply(models.dual(IMAGE, TEXT, 8), found[name])
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
        layer_norms.patterns({"image": 1, "text": 4})
