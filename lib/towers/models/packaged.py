"""The two pretrained towers that come as packages: `package:efficientnet-lite0`, `package:minilm`.

Their cards, in `models/cards`, pin version and SHA-256 of the files that are used, so that a number
of the book always rests on the same weights.
"""

import re
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from towers.data import sources
from towers.models.encoders import ImageTower, TextTower
from towers.models.preprocessing import HALF, Preprocessing, Resize
from towers.models.sentences import sentence_tower
from towers.models.weights import load_into, read


def efficientnet_lite0(
    name: str, resize: Resize | None = None, image: int | None = None
) -> ImageTower:
    """EfficientNet-Lite0, supervised on ImageNet; features are its 1280 pooled channels.

    The weights are TensorFlow's, converted; architecture and preprocessing are those that timm
    gives `tf_efficientnet_lite0` (mean and standard deviation 0.5, bicubic, central 7/8).

    Args:
        name: of the tower.
        resize: how pictures become square; None: the model's own central crop.
        image: side of the square in pixels; None: the model's own.

    Source: Tan & Le 2019; EfficientNet-Lite, TensorFlow TPU models, 2020.
    """
    classifier = efficientnet_lite0_classifier()
    width = classifier.num_features
    classifier.reset_classifier(0)
    transform = efficientnet_lite0_preprocessing().resized(resize)
    transform = replace(transform, size=image or transform.size)
    return ImageTower(name, classifier, width, transform).freeze()


def efficientnet_lite0_preprocessing() -> Preprocessing:
    """What the model was evaluated with by its authors."""
    return Preprocessing(224, HALF, HALF, "bicubic", "crop", 0.875)


def efficientnet_lite0_classifier() -> nn.Module:
    """The same network with its head of 1,000 ImageNet classes, in evaluation mode."""
    import timm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    (path,) = sources.fetch("efficientnet-lite0").glob("models/*.pth")
    load_into(model, _as_timm(read(path), model), path.name)
    return model.eval()


def minilm(name: str) -> TextTower:
    """all-MiniLM-L6-v2, a sentence encoder trained contrastively; features are unit-norm.

    Source: the package's own pipeline (`modules.json`): transformer, mean over tokens, L2 norm.
    """
    return sentence_tower(name, str(minilm_folder()), local=True)


def minilm_folder() -> Path:
    """Where all-MiniLM-L6-v2 and its tokenizer lie, once their files are checked.

    Raises:
        DataError: the package is missing, of another version, or damaged.
    """
    return sources.fetch("minilm") / "model"


_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
          "_fc": "classifier"}  # fmt: skip
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw",
              "_bn2": "bn2"}  # fmt: skip
_INVERTED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw",
             "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip


def _as_timm(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The published names as timm's: blocks numbered within stages, layers by their place.

    A block whose first layer is an expansion is an inverted residual, one without is depthwise
    separable; the two name the same layers differently.
    """
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(model.blocks) for b in range(len(stage))]
    renamed = {}
    for name, tensor in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block:
            number, layer, leaf = block.groups()
            expands = f"_blocks.{number}._expand_conv.weight" in state
            layers = _INVERTED if expands else _SEPARABLE
            renamed[f"{places[int(number)]}.{layers[layer]}.{leaf}"] = tensor
        else:
            layer, leaf = name.split(".")
            renamed[f"{_OUTER[layer]}.{leaf}"] = tensor
    return renamed
