"""Checkpoints of pairs of which only a part moved: small, whole, and on nothing else."""

import copy

import pytest
import safetensors.torch
import torch

from tests.models.test_checkpoints import one_step, rewrite, whole
from towers import models
from towers.models import adapters, checkpoints, trainable

IMAGE = "timm:test_vit/random"
WORDS = "scratch:words?width=16&depth=2&heads=2&context=8&vocabulary=600"
POLICIES = ("layer-norms", "bitfit", "layerwise", "deep", "layerwise+layer-norms",
            "random?layers=1", "image=deep?layers=2+bitfit,text=everything", "projections",
            "image=locked,text=layerwise", "everything")  # fmt: skip


def trained(bert, policy, image=IMAGE):
    """A pair after a step, whose names bring its towers back."""
    dual = models.dual(image, f"hf:{bert}", 8, seed=3, name="test:moved")
    trainable.apply(dual, policy)
    one_step(dual)
    return dual


@pytest.fixture
def saved(bert, tmp_path):
    dual = trained(bert, "layerwise+layer-norms")
    models.save(dual, tmp_path / "moved.safetensors")
    return dual, tmp_path / "moved.safetensors"


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_saved_comes_back_bit_for_bit(bert, tmp_path, policy):
    dual, path = trained(bert, policy), tmp_path / "a.safetensors"
    models.save(dual, path)
    loaded = models.load(f"file:{path}")
    assert loaded.checksum == dual.checksum
    assert (loaded.image.adapters, loaded.text.adapters) == (dual.image.adapters,
                                                             dual.text.adapters)  # fmt: skip
    assert (loaded.image.frozen, loaded.text.frozen) == (True, True)
    images = torch.rand(2, 3, 160, 160)
    dual.eval()
    with torch.no_grad():
        assert torch.equal(loaded.embed_images(images), dual.embed_images(images))
        tokens = dual.text.tokenize(["a cat", "three dogs"])
        assert torch.equal(loaded.embed_texts(tokens), dual.embed_texts(tokens))
    models.save(loaded, tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("policy", POLICIES[:6])
def test_the_file_holds_only_what_moved(bert, tmp_path, policy):
    dual = trained(bert, policy)
    moving = {name for name, weight in dual.named_parameters() if weight.requires_grad}
    models.save(dual, tmp_path / "a.safetensors")
    assert checkpoints.read(tmp_path / "a.safetensors")[1].keys() == moving


def test_what_moved_earlier_is_stored_though_it_is_locked_now(bert, tmp_path):
    dual = trained(bert, "layer-norms")
    trainable.apply(dual, "bitfit")
    one_step(dual)
    models.save(dual.requires_grad_(False), tmp_path / "a.safetensors")
    assert models.load(f"file:{tmp_path}/a.safetensors").checksum == dual.checksum


def test_adapters_that_never_learnt_are_stored_too(bert, tmp_path):
    dual = models.dual(IMAGE, f"hf:{bert}", 8)
    dual.image.adapt(adapters.Layerwise())
    models.save(dual.requires_grad_(False), tmp_path / "a.safetensors")
    loaded = models.load(f"file:{tmp_path}/a.safetensors")
    assert loaded.checksum == dual.checksum
    assert loaded.image.adapters == adapters.Layerwise()


def test_plain_towers_stand_on_what_they_stood_on(saved, bert):
    loaded = models.load(f"file:{saved[1]}")
    loaded.image.plain()
    norms = loaded.image.moved
    assert len(norms) == 2 * (2 * len(loaded.image.encoder.blocks) + 1)
    assert not [name for name in norms if "adapter" in name]
    fresh = models.load(IMAGE)
    same = loaded.image.encoder.state_dict()
    for name, tensor in fresh.encoder.state_dict().items():
        assert torch.equal(same[name], tensor) or name in norms


def test_a_tower_from_scratch_keeps_its_adapters(tmp_path, bert):
    dual = models.dual("scratch:vit?image=16&patch=8&width=16&depth=2&heads=2", WORDS, 8)
    trainable.apply(dual, "image=layerwise,text=deep?layers=2")
    one_step(dual)
    models.save(dual, tmp_path / "a.safetensors")
    assert whole(tmp_path / "a.safetensors", dual) == ["image", "text"]
    loaded = models.load(f"file:{tmp_path}/a.safetensors")
    assert loaded.checksum == dual.checksum
    assert loaded.text.adapters == adapters.Deep(layers=2)


def test_training_goes_on_from_the_adapters_that_are_there(saved):
    loaded = models.load(f"file:{saved[1]}")
    before = copy.deepcopy(loaded.state_dict())
    trainable.apply(loaded, "layerwise?zero=true+layer-norms", seed=8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())
    with pytest.raises(ValueError, match="without other adapters, to insert Deep"):
        trainable.apply(loaded, "deep")


def test_resolutions_are_continued_with_adapters(bert, tmp_path):
    name = "scratch:map?image=16&patch=8&width=16&depth=2&heads=2"
    dual = trained(bert, "layerwise", image=name)
    larger = models.continued(dual, 32)
    assert larger.image.adapters == adapters.Layerwise()
    assert larger.image.moved == dual.image.moved
    models.save(larger, tmp_path / "a.safetensors")
    assert models.load(f"file:{tmp_path}/a.safetensors").checksum == larger.checksum


@pytest.mark.parametrize(("name", "message"), [
    ("image.encoder.blocks.0.norm1.adapter.up.weight", "lacks the key"),
    ("text.encoder.transformer.encoder.layer.1.output.dropout.adapter.down.bias", "lacks the key"),
    ("image.encoder.blocks.0.norm1.weight", "the file was changed"),
    ("log_scale", "lacks the key 'log_scale'"),
])  # fmt: skip
def test_a_lost_weight_is_noticed(saved, name, message):
    rewrite(saved[1], **{name: None})
    refused(saved[1], message)


@pytest.mark.parametrize(("changes", "message"), [
    ({"adapters": {}}, "has the unexpected key 'image.encoder.blocks.0.norm1.adapter"),
    ({"adapters": {"image": "layerwise"}}, r"unexpected key 'text\.encoder.*adapter"),
    ({"adapters": {"image": "deep", "text": "deep"}}, "adapters are never left out"),
    ({"adapters": {"image": "layerwise?reduction=2", "text": "layerwise"}}, "never left out"),
    ({"adapters": {"image": "layerwise?reduction=8", "text": "layerwise"}}, "adapter.*of shape"),
    ({"adapters": {"image": "deep?layers=256", "text": "layerwise"}}, "never left out"),
    ({"adapters": {"image": "sideways", "text": "layerwise"}}, "layerwise, deep; got 'sideways'"),
    ({"adapters": {"sound": "deep"}}, "expected a header of towers, format 2"),
    ({"adapters": ["image", "text"]}, "expected a header of towers"),
    ({"tensors": "0" * 64}, "with checksum 000000000000 in .*changed"),
    ({"adapters": {"image": None}}, "expected a header of towers"),
    ({"image_base": "0" * 64}, "checksum 000000000000 for .*install the weights"),
    ({"image": "timm:test_vit2/random"}, "for timm:test_vit2/random in .*never left out"),
])  # fmt: skip
def test_another_header_is_refused(saved, changes, message):
    rewrite(saved[1], header=changes)
    refused(saved[1], message)


def test_weights_that_never_were_there_are_refused(saved):
    rewrite(saved[1], **{"image.encoder.blocks.0.norm3.weight": torch.zeros(64)})
    refused(saved[1], "has the unexpected key 'image.encoder.blocks.0.norm3.weight'")


def test_changed_weights_are_refused(saved):
    tensors = safetensors.torch.load_file(saved[1])
    name = "image.encoder.blocks.0.norm1.adapter.up.bias"
    rewrite(saved[1], **{name: tensors[name] + 1})
    refused(saved[1], "the file was changed")


def test_another_base_is_refused(saved, bert):
    """The folder that the text tower's name points to now holds other weights."""
    path = bert / "model.safetensors"
    state = safetensors.torch.load_file(path)
    name = "encoder.layer.0.output.dense.weight"
    safetensors.torch.save_file(state | {name: state[name] + 1}, path, {"format": "pt"})
    refused(saved[1], "install the weights that it was trained on")


def test_a_locked_weight_that_was_changed_by_hand_is_noticed(saved):
    dual, path = saved
    with torch.no_grad():
        dual.image.encoder.blocks[0].mlp.fc1.weight.add_(1)
    models.save(dual, path)
    refused(path, "expected weights of timm:test_vit/random with checksum")


def refused(path, message):
    with pytest.raises(ValueError, match=message) as error:
        models.load(f"file:{path}")
    assert "\n" not in str(error.value)
