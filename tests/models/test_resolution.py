"""The 336 px continuation: positions as open_clip resizes them, all else bitwise the same."""

from types import SimpleNamespace

import open_clip
import pytest
import torch
from open_clip.model import resize_pos_embed

from towers import models
from towers.models import resolution, scratch

VIT = "scratch:vit?image=32&patch=8&width=32&depth=2&heads=4"
WORDS = "scratch:transformer?width=32&depth=1&heads=4&context=12&vocabulary=700"


@pytest.mark.parametrize(("old", "new"), [(4, 6), (7, 14), (16, 24), (6, 4), (5, 5)])
def test_positions_are_resized_as_open_clip_does(old, new):
    positions = torch.randn(old**2 + 1, 24, generator=torch.Generator().manual_seed(0))
    state = {"visual.positional_embedding": positions.clone()}
    resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=(new, new))))
    got = resolution.resized(positions, new)
    assert torch.equal(got, state["visual.positional_embedding"])
    assert torch.equal(got[0], positions[0])


def test_open_clips_own_way_to_a_larger_picture_gives_the_same_features(tiny_arch, tmp_path):
    """open_clip resizes while it loads a weight file into a model of another size."""
    path = tmp_path / "weights.pt"
    torch.save(open_clip.create_model(tiny_arch).state_dict(), path)
    theirs = open_clip.create_model(tiny_arch, pretrained=str(path), force_image_size=48).eval()
    images = torch.randn(2, 3, 48, 48)
    by_name = models.load(f"open_clip:{tiny_arch}/{path}?image=48")
    by_hand = models.continued(models.load(f"open_clip:{tiny_arch}/{path}"), 48)
    for ours in (by_name, by_hand):
        torch.testing.assert_close(ours.image(images), theirs.encode_image(images))
        assert ours.image.transform.size == 48
        assert ours.image.name.endswith("?image=48")


def test_everything_else_is_bitwise_the_same():
    dual = models.dual(VIT, WORDS, 8, seed=2)
    before = {name: tensor.clone() for name, tensor in dual.state_dict().items()}
    larger = models.continued(dual, 64)
    changed = [n for n, t in larger.state_dict().items() if not torch.equal(t, before[n])]
    assert changed == ["image.encoder.positional_embedding"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in dual.state_dict().items())
    assert (dual.image.transform.size, larger.image.transform.size) == (32, 64)
    with torch.no_grad():
        larger.text.encoder.transformer.ln_final.bias.add_(1)
    assert torch.equal(dual.state_dict()["text.encoder.transformer.ln_final.bias"],
                       before["text.encoder.transformer.ln_final.bias"])  # fmt: skip


def test_the_same_size_changes_nothing():
    tower = scratch.tower(VIT)
    assert models.continued(tower, 32).checksum == tower.checksum


def test_it_goes_on_training_and_comes_back_from_a_checkpoint(tmp_path):
    larger = models.continued(models.dual(VIT, WORDS, 8, seed=2), 64)
    assert not larger.image.frozen
    features = larger.image(torch.randn(2, 3, 64, 64))
    features.square().sum().backward()
    assert larger.image.encoder.positional_embedding.grad.abs().sum() > 0
    models.save(larger, tmp_path / "larger.safetensors")
    assert models.load(f"file:{tmp_path}/larger.safetensors").checksum == larger.checksum


def test_a_frozen_tower_stays_frozen():
    assert models.continued(models.load(VIT), 64).frozen


@pytest.mark.parametrize("pool", ["token", "mean", "attention"])
def test_every_pooling_can_go_on(pool):
    larger = models.continued(models.load(f"{VIT}&pool={pool}"), 64)
    assert larger(torch.randn(1, 3, 64, 64)).shape == (1, 32)


@pytest.mark.parametrize("image", [36, 4, 0])
def test_a_side_that_the_patch_does_not_divide_is_refused(image):
    with pytest.raises(ValueError, match=f"multiple of 8 pixels .* got {image}"):
        models.continued(models.load(VIT), image)


@pytest.mark.parametrize(
    "name", ["scratch:resnet?image=32&width=4&layers=1,1,1,1", "timm:test_vit/random"]
)
def test_towers_without_a_grid_of_positions_are_refused(name):
    with pytest.raises(ValueError, match="expected a Vision Transformer of open_clip, or"):
        models.continued(models.load(name), 64)


def test_a_text_tower_is_refused():
    with pytest.raises(ValueError, match="expected a Vision Transformer of open_clip, or"):
        models.continued(models.load(WORDS), 64)
