"""Our checkpoints: what is saved comes back, and what does not fit is refused by name."""

import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from tests.models.conftest import small_dual
from towers import models
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


def test_trainable_towers_are_not_saved(tmp_path):
    dual = small_dual()
    dual.text.requires_grad_(True)
    with pytest.raises(ValueError, match="expected frozen towers, got trainable weights in test:t"):
        models.save(dual, tmp_path / "dual.safetensors")
    assert not (tmp_path / "dual.safetensors").exists()


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"log_scale": None}, "lacks the key 'log_scale'"),
        ({"image_proj.weight": None, "text_proj.weight": None}, "'image_proj.weight' and 1 more"),
        ({"image_proj.bias": torch.zeros(8)}, "has the unexpected key 'image_proj.bias'"),
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
    rewrite(path, header={f"{tower}_checksum": "0" * 64})
    with pytest.raises(ValueError, match=r"checksum 000000000000 for .*install the weights"):
        models.load(f"file:{path}")


@pytest.mark.parametrize(
    "header",
    [{"format": 2}, {"format": "1"}, {"embed": "8"}, {"embed": -8}, {"embed": True}, {"embed": 0},
     {"name": ...}, {"image": None}, {"extra": 1}],
    ids=str,
)  # fmt: skip
def test_another_header_is_refused(path, header):
    rewrite(path, header=header)
    with pytest.raises(ValueError, match="expected a header of towers, format 1"):
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
    with pytest.raises(ValueError, match=r"header of towers, format 1, in .*, got 'None'"):
        checkpoints.read(tmp_path / "other.safetensors")
