"""Towers that were pretrained apart: each knows its own modality, and they have never met."""

import pytest
import torch

from towers import models, training
from towers.training import Start, TrainingError, around

IMAGE = "scratch:vit?image=32&patch=16&width=16&depth=2&heads=2"
TEXT = "scratch:transformer?width=16&depth=2&heads=2&context=12&vocabulary=600"
WORLD = "size=32&objects=1&families=description,place"
SHORT = {"steps": 2, "batch": 8, "warmup": 1, "embed": 4}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def start(**changes):
    return Start(**{"image": IMAGE, "text": TEXT, "world": WORLD, "pictures": SHORT,
                    "sentences": SHORT} | changes)  # fmt: skip


@pytest.mark.parametrize("pretrained", ["both", "image", "text", "none"])
def test_what_is_pretrained_is_no_longer_as_it_was_drawn(pretrained):
    drawn = models.dual(IMAGE, TEXT, 8, seed=0)
    pair = start(pretrained=pretrained).pair(8, 0, progress=False)
    changed = {
        side: getattr(pair, side).checksum != getattr(drawn, side).checksum
        for side in ("image", "text")
    }
    assert changed == {side: pretrained in (side, "both") for side in ("image", "text")}
    assert torch.equal(pair.image_proj.weight, drawn.image_proj.weight)


def test_the_seed_is_that_of_the_projections_alone():
    pairs = [start().pair(8, seed, progress=False) for seed in (0, 1)]
    assert pairs[0].image.checksum == pairs[1].image.checksum
    assert pairs[0].text.checksum == pairs[1].text.checksum
    assert not torch.equal(pairs[0].image_proj.weight, pairs[1].image_proj.weight)


def test_pairs_of_one_start_do_not_share_their_towers():
    begin = start()
    first, second = (begin.pair(8, 0, progress=False) for _ in range(2))
    with torch.no_grad():
        next(first.text.parameters()).zero_()
    assert first.text.checksum != second.text.checksum
    assert second.checksum == start().pair(8, 0, progress=False).checksum


def test_neither_tower_meets_the_other():
    recipes = start().recipes
    assert recipes["image"].objective == "bag-of-words"
    assert recipes["image"].text != TEXT
    assert (recipes["text"].data, recipes["text"].text_share) == ((), 1.0)
    assert recipes["text"].image != IMAGE


def test_towers_with_names_that_bring_weights_are_loaded():
    pair = Start("package:efficientnet-lite0", "package:minilm").pair(8)
    assert Start("package:efficientnet-lite0", "package:minilm").recipes == {}
    assert pair.image.checksum == models.image_tower("package:efficientnet-lite0").checksum
    assert pair.image.named
    assert pair.text.named


def test_another_kind_of_start_is_refused():
    with pytest.raises(TrainingError, match="expected pretrained as both, image, text or none"):
        start(pretrained="all")


def test_a_kept_run_begins_with_the_pair_that_it_is_given():
    recipe = training.Recipe(
        image=IMAGE, text=TEXT, data=("scenes:train?count=32&size=32&objects=1",), embed=8,
        steps=2, batch=8, warmup=1, policy="layerwise", checkpoint_every=2,
    )  # fmt: skip
    first, other = (
        start(pretrained=which).pair(8, 0, progress=False) for which in ("both", "none")
    )
    before = first.checksum
    done = training.kept(recipe, first, progress=False)
    assert first.checksum == before
    assert first.image.adapters is None
    assert done.dual.image.adapters is not None
    done.dual.image.plain()
    assert done.dual.image.checksum == first.image.checksum
    assert training.kept(recipe, first, progress=False).folder == done.folder
    elsewhere = training.kept(recipe, other, progress=False)
    assert elsewhere.folder != done.folder
    assert training.kept(recipe, progress=False).folder not in (done.folder, elsewhere.folder)


@pytest.mark.parametrize("text", ["shared:pixels?packed=true", "shared:words?context=4",
                                  "scratch:words?width=16&depth=1&heads=2&context=4"])  # fmt: skip
def test_a_pair_around_a_tower_has_its_very_weights(text):
    image = models.image_tower("scratch:map?image=32&patch=16&width=16&depth=1&heads=2&seed=7")
    pairs = [around(image, text, 8, seed) for seed in (0, 1)]
    for pair in pairs:
        assert pair.image is image
        assert pair.text.borrows == text.startswith("shared:")
        assert pair.embed_texts(pair.text.tokenize(["a cat"])).shape == (1, 8)
    assert not torch.equal(pairs[0].image_proj.weight, pairs[1].image_proj.weight)
