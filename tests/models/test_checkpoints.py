"""Our checkpoints: what is saved comes back, and what does not fit is refused by name."""

import json
import os

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from towers import losses, models
from towers.models import DualTower, checkpoints

IMAGE, TEXT = "timm:test_vit/random", "open_clip:towers-tiny/random"


@pytest.fixture
def dual(tiny_arch):
    dual = DualTower(models.image_tower(IMAGE), models.text_tower(TEXT), 8, "test:dual", seed=4)
    with torch.no_grad():
        dual.log_scale.fill_(1.5)
    return dual


@pytest.fixture
def path(dual, tmp_path):
    models.save(dual, tmp_path / "dual.safetensors")
    return tmp_path / "dual.safetensors"


def rewrite(path, header=None, **tensors):
    """Save the checkpoint again with changes to its header and tensors (None: left out)."""
    state = safetensors.torch.load_file(path) | tensors
    with safe_open(path, "pt") as file:
        fields = json.loads(file.metadata()["towers"]) | (header or {})
    fields = {name: value for name, value in fields.items() if value is not ...}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    safetensors.torch.save_file(state, path, {"towers": json.dumps(fields)})


def test_what_is_saved_comes_back_bit_for_bit(dual, path):
    loaded = models.load(f"file:{path}")
    assert loaded.checksum == dual.checksum
    assert (loaded.name, loaded.embed) == ("test:dual", 8)
    for name, tensor in dual.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    images = torch.rand(2, 3, 160, 160)
    assert torch.equal(loaded.embed_images(images), dual.embed_images(images))


def test_the_file_holds_only_what_the_pair_adds(path):
    tensors = safetensors.torch.load_file(path)
    assert tensors.keys() == {"image_proj.weight", "text_proj.weight", "log_scale"}


def test_a_pair_without_projections_comes_back(tiny_arch, tmp_path):
    dual = models.load(TEXT)
    models.save(dual, tmp_path / "dual.safetensors")
    assert models.load(f"file:{tmp_path}/dual.safetensors").checksum == dual.checksum


def test_saving_twice_gives_the_same_bytes(dual, path):
    first = path.read_bytes()
    models.save(dual, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"log_scale": None}, "lacks the key 'log_scale'"),
        ({"image_proj.weight": None, "text_proj.weight": None}, "'image_proj.weight' and 1 more"),
        ({"image_proj.bias": torch.zeros(8)}, "lacks the key 'text_proj.bias'"),
        ({"log_scale": torch.zeros(1)}, r"'log_scale' of shape \(\), but .* has \(1,\)"),
        ({"text_proj.weight": torch.zeros(8, 9)}, r"'text_proj.weight' of shape \(8, 24\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_key(path, tensors, named):
    rewrite(path, **tensors)
    with pytest.raises(ValueError, match=named) as error:
        models.load(f"file:{path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_another_base_is_refused(path, tower):
    rewrite(path, header={f"{tower}_base": "0" * 64})
    with pytest.raises(ValueError, match=r"checksum 000000000000 for .*install the weights"):
        models.load(f"file:{path}")


@pytest.mark.parametrize(
    "header",
    [{"format": 1}, {"format": "2"}, {"embed": "8"}, {"embed": -8}, {"embed": True}, {"embed": 0},
     {"name": ...}, {"adapters": ...}, {"tensors": ...}, {"image": None}, {"extra": 1}],
    ids=str,
)  # fmt: skip
def test_another_header_is_refused(path, header):
    rewrite(path, header=header)
    with pytest.raises(ValueError, match="expected a header of towers, format 2"):
        models.load(f"file:{path}")


def test_a_huge_shared_space_is_refused_before_it_is_made(path):
    rewrite(path, header={"embed": 10**13})
    with pytest.raises(ValueError, match=r"'image_proj.weight' of shape \(10000000000000, 64\)"):
        models.load(f"file:{path}")


def test_a_checkpoint_cannot_name_a_checkpoint(path):
    rewrite(path, header={"image": f"file:{path}"})
    with pytest.raises(ValueError, match="expected towers by name in"):
        models.load(f"file:{path}")


def test_safetensors_of_others_are_refused(tmp_path):
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"header of towers, format 2, in .*, got 'None'"):
        checkpoints.read(tmp_path / "other.safetensors")


# --- towers whose weights are stored

VIT = "scratch:vit?image=16&patch=8&width=16&depth=2&heads=2"
RESNET = "scratch:resnet?image=32&width=4&layers=1,1,1,1"
WORDS = "scratch:transformer?width=16&depth=1&heads=2&context=8&vocabulary=600"
BAG = "scratch:bow?width=16&context=8&vocabulary=600"


def whole(path, dual):
    """The towers of a pair all of whose weights are in a checkpoint."""
    tensors = checkpoints.read(path)[1]
    return [
        side
        for side, tower in (("image", dual.image), ("text", dual.text))
        if checkpoints.held(tensors, side).keys() == tower.own_weights.keys()
    ]


def one_step(dual):
    """Moves every weight and statistic a little."""
    dual.train()
    size = dual.image.transform.size
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    texts = dual.text.tokenize(["one", "two", "three", "four"])
    loss = losses.clip_loss(dual.embed_images(images), dual.embed_texts(texts), dual.logit_scale)
    loss.backward()
    torch.optim.AdamW(dual.parameters(), lr=0.1).step()


@pytest.fixture
def trained(tmp_path):
    """A pair from scratch after a step, and its checkpoint."""
    dual = models.dual(VIT, WORDS, 8, seed=3, name="test:scratch")
    one_step(dual)
    path = tmp_path / "trained.safetensors"
    models.save(dual, path)
    return dual, path


@pytest.mark.parametrize("names", [(VIT, WORDS), (RESNET, BAG), (RESNET, WORDS), (VIT, BAG)])
def test_a_trained_pair_from_scratch_comes_back_bit_for_bit(tmp_path, names):
    dual = models.dual(*names, 8, seed=3)
    one_step(dual)
    models.save(dual, tmp_path / "a.safetensors")
    loaded = models.load(f"file:{tmp_path}/a.safetensors")
    assert loaded.checksum == dual.checksum
    for name, tensor in dual.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.image.frozen
    assert loaded.text.frozen


def test_a_loaded_pair_can_be_saved_again_and_gives_the_same_bytes(trained, tmp_path):
    _, path = trained
    models.save(models.load(f"file:{path}"), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_frozen_untrained_tower_from_scratch_is_stored_too(tmp_path):
    """Its seed may draw other numbers with another version of torch."""
    dual = DualTower(models.load(RESNET), models.load(BAG), 8, "test:untrained")
    models.save(dual, tmp_path / "untrained.safetensors")
    assert whole(tmp_path / "untrained.safetensors", dual) == ["image", "text"]


def test_only_what_was_trained_is_stored(tmp_path):
    dual = models.dual(IMAGE, WORDS, 8)
    models.save(dual, tmp_path / "locked.safetensors")
    tensors = checkpoints.read(tmp_path / "locked.safetensors")[1]
    assert whole(tmp_path / "locked.safetensors", dual) == ["text"]
    assert not [name for name in tensors if name.startswith("image.")]
    assert models.load(f"file:{tmp_path}/locked.safetensors").checksum == dual.checksum


@pytest.mark.parametrize("freeze", [False, True])
def test_a_pretrained_tower_that_was_trained_is_stored(tiny_arch, tmp_path, freeze):
    dual = DualTower(models.image_tower(IMAGE), models.text_tower(TEXT), 8, "tuned")
    dual.text.requires_grad_(True)
    dual.train()
    with torch.no_grad():
        next(dual.text.parameters()).add_(1)
    if freeze:
        dual.text.freeze()
    models.save(dual, tmp_path / "tuned.safetensors")
    loaded = models.load(f"file:{tmp_path}/tuned.safetensors")
    assert loaded.checksum == dual.checksum
    models.save(loaded, tmp_path / "again.safetensors")
    assert whole(tmp_path / "again.safetensors", dual) == ["text"]
    assert whole(tmp_path / "tuned.safetensors", dual) == ["text"]


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"text.encoder.transformer.ln_final.bias": None}, "lacks the key"),
        ({"image.encoder.extra": torch.zeros(1)}, "has the unexpected key"),
        ({"image.encoder.conv1.weight": torch.zeros(16, 3, 4, 4)}, r"of shape \(16, 3, 8, 8\)"),
        ({"log_scale": None}, "lacks the key 'log_scale'"),
        ({"image.other": torch.zeros(1)}, "has the unexpected key 'image.other'"),
        ({"image.encoder.class_embedding": torch.zeros(16)}, "the file was changed"),
        ({"log_scale": torch.tensor(0.5)}, "the file was changed"),
    ],
)
def test_stored_weights_that_do_not_fit_are_refused(trained, tensors, named):
    rewrite(trained[1], **tensors)
    with pytest.raises(ValueError, match=named) as error:
        models.load(f"file:{trained[1]}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "scratch:vit?image=65536&patch=1&width=65536&depth=2&heads=1",
        "scratch:vit?image=16&patch=8&width=65536&depth=256&heads=2",
    ],
)
def test_a_huge_tower_is_refused_before_it_is_made(trained, name):
    rewrite(trained[1], header={"image": name})
    with pytest.raises(ValueError, match=r"image in .* (lacks the key|has)"):
        models.load(f"file:{trained[1]}")


def test_a_failed_save_leaves_the_checkpoint_that_was_there(trained, monkeypatch):
    dual, path = trained
    before = path.read_bytes()
    one_step(dual)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        models.save(dual, path)
    assert path.read_bytes() == before
