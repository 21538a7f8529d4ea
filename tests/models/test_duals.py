"""Pairs of towers: the shared space, the learned scale, what is frozen, and checksums."""

import math

import pytest
import torch

from tests.models.conftest import small_dual, small_image_tower, small_text_tower
from towers.losses import clip_loss
from towers.models import DualTower
from towers.models.weights import checksum

IMAGES = torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TEXTS = ["red", "green", "blue", "a long caption", "x", "yy", "zzz"]


def test_embeddings_have_norm_one_in_float32():
    dual = small_dual()
    with torch.autocast("cpu", torch.bfloat16):
        embeds = [dual.embed_images(IMAGES), dual.embed_texts(dual.text.tokenize(TEXTS))]
    for matrix in embeds:
        assert matrix.shape == (7, 4)
        assert matrix.dtype == torch.float32
        torch.testing.assert_close(matrix.norm(dim=1), torch.ones(7))


def test_features_embed_as_their_inputs_do():
    dual = small_dual()
    tokens = dual.text.tokenize(TEXTS)
    assert torch.equal(dual.embed_images(IMAGES), dual.embed_images(dual.image(IMAGES)))
    assert torch.equal(dual.embed_texts(tokens), dual.embed_texts(dual.text(tokens)))


def test_an_embedding_is_the_normalised_product_of_figure_3():
    dual = small_dual()
    features = dual.image(IMAGES)
    product = features @ dual.image_proj.weight.T
    expected = product / (product**2).sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(dual.embed_images(IMAGES), expected)


@pytest.mark.parametrize("shape", [(7, 5), (6,), (2, 3, 4)])
def test_other_shapes_are_refused_with_the_width_named(shape):
    with pytest.raises(ValueError, match=r"test:image or its features \(batch, 6\), got"):
        small_dual().embed_images(torch.zeros(shape))


def test_the_scale_starts_at_a_temperature_of_7_percent():
    assert small_dual().logit_scale.item() == pytest.approx(1 / 0.07)


@pytest.mark.parametrize(("before", "after"), [(9.0, 100.0), (math.log(50), 50.0), (-3, None)])
def test_clipping_brings_the_scale_to_at_most_100(before, after):
    dual = small_dual()
    with torch.no_grad():
        dual.log_scale.fill_(before)
    dual.clip_scale_()
    assert dual.logit_scale.item() == pytest.approx(after or math.exp(-3))


def test_a_clipped_scale_still_has_its_gradient_and_comes_back():
    """Pairs that are wrong want a smaller scale; a bound in the forward pass would hide that."""
    dual = small_dual()
    with torch.no_grad():
        dual.log_scale.fill_(9.0)
    dual.clip_scale_()
    optimiser = torch.optim.SGD([dual.log_scale], lr=0.1)
    texts = dual.embed_texts(dual.text.tokenize(TEXTS))
    clip_loss(dual.embed_images(IMAGES), texts, dual.logit_scale).backward()
    assert dual.log_scale.grad > 0
    optimiser.step()
    assert dual.logit_scale < 99


def test_only_the_projections_and_the_scale_learn():
    dual = small_dual().train()
    texts = dual.embed_texts(dual.text.tokenize(TEXTS))
    clip_loss(dual.embed_images(IMAGES), texts, dual.logit_scale).backward()
    learning = {name for name, parameter in dual.named_parameters() if parameter.grad is not None}
    assert learning == {"image_proj.weight", "text_proj.weight", "log_scale"}
    assert dual.own_weights.keys() == learning
    assert dual.training
    assert not dual.image.training
    assert not dual.text.training


def test_a_frozen_tower_still_passes_gradients_to_its_input():
    images = IMAGES.clone().requires_grad_()
    small_image_tower()(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_an_unfrozen_tower_trains():
    tower = small_image_tower().requires_grad_(True).train()
    assert not tower.frozen
    assert tower.encoder.training
    assert "trainable" in repr(tower)


def test_the_seed_decides_the_projections():
    first, same, other = small_dual(seed=1), small_dual(seed=1), small_dual(seed=2)
    assert torch.equal(first.image_proj.weight, same.image_proj.weight)
    assert not torch.equal(first.image_proj.weight, other.image_proj.weight)


def test_projections_start_at_the_scale_of_their_width():
    dual = DualTower(small_image_tower(400), small_text_tower(100), 200, "test:dual")
    # the standard deviation of n normal draws is known to 1 / sqrt(2 n)
    assert dual.image_proj.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert dual.text_proj.weight.std().item() == pytest.approx(100**-0.5, rel=0.02)
    assert dual.image_proj.bias is None


def test_towers_without_a_projection_must_have_one_width():
    with pytest.raises(ValueError, match="got 6 and 5; give embed"):
        DualTower(small_image_tower(6), small_text_tower(5), None, "test:dual")
    dual = DualTower(small_image_tower(6), small_text_tower(6), None, "test:dual")
    assert dual.embed == 6
    assert dual.own_weights.keys() == {"log_scale"}


def test_a_checksum_sees_every_weight_name_type_and_shape():
    base = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    others = [
        base | {"a": torch.zeros(3, 2)},
        base | {"a": torch.zeros(2, 3, dtype=torch.int32)},  # the same bytes
        base | {"b": torch.tensor([1, 1, 1, 1 + 2**-23])},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"]},
    ]
    assert len({checksum(tensors) for tensors in [base, *others]}) == 1 + len(others)
    assert checksum(dict(reversed(base.items()))) == checksum(base)


def test_a_checksum_does_not_see_the_layout_in_memory():
    images = torch.rand(2, 3, 4, 5)
    moved = images.contiguous(memory_format=torch.channels_last)
    assert moved.stride() != images.stride()
    assert checksum({"x": images}) == checksum({"x": moved})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64, torch.bool, torch.float32])
def test_a_checksum_takes_every_type_and_no_axes(dtype):
    assert len(checksum({"x": torch.ones(3).to(dtype), "y": torch.tensor(1).to(dtype)})) == 64


def test_a_towers_checksum_follows_its_weights():
    tower = small_image_tower()
    before = tower.checksum
    assert tower.checksum == before == small_image_tower().checksum
    with torch.no_grad():
        tower.encoder.linear.bias[0] += 1
    assert tower.checksum != before


def test_a_pairs_checksum_follows_towers_projections_and_scale():
    changes = ["image.encoder.linear.bias", "text.encoder.table.weight", "image_proj.weight",
               "text_proj.weight", "log_scale"]  # fmt: skip
    seen = {small_dual().checksum}
    for name in changes:
        dual = small_dual()
        with torch.no_grad():
            dual.get_parameter(name).mul_(2)
        seen.add(dual.checksum)
    assert len(seen) == 1 + len(changes)
    assert small_dual().checksum in seen


@pytest.mark.parametrize("texts", ["one text", [1, 2], [None]])
def test_only_lists_of_strings_are_tokenized(texts):
    with pytest.raises(ValueError, match="expected a list of strings"):
        small_text_tower().tokenize(texts)
