"""The models of the CLIPPO paper, built without memory, with their counts and their recipe.

Counts are read from the networks that the names build. The paper's column of parameters is these
counts cut, not rounded, to whole millions. Two of them say more than the text does: CLIP* comes to
203 million only if its text tower is not pooled by attention, as its image tower is, and 1T-CLIP
L/16 at 384 pixels to 349 million only if words and patches share their positions.

Source: Tschannen et al. 2023, section 4.1, appendix B, Tables 1, 6 and 9.
"""

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from towers import names
from towers.models.duals import DualTower
from towers.models.paper import parameters
from towers.models.pretrained import dual

EMBED, CONTEXT, VOCABULARY = 768, 196, 32_000
"""Length of the shared space, tokens of a text, and ids of a vocabulary."""
SIZES = {"B/16": "width=768&depth=12&heads=12", "L/16": "width=1024&depth=24&heads=16"}
"""Of the networks, with patches of 16 pixels."""
_SIZE = ("width", "depth", "heads")
_LONG = ("CLIP*", "1T-CLIP", "CLIPPO")
"""Trained for all steps; the others of Table 9 for ablation only."""


@dataclass(frozen=True)
class ClippoModel:
    """A model of the paper and how it was trained.

    Attributes:
        name: as the tables have it.
        size: of `SIZES`.
        text: name of the text tower.
        image_size: side of pictures and pages in pixels.
        steps: updates; those at 384 pixels count what went before.
        batch: pairs per update.
        lr: peak learning rate.
        weight_decay: on kernels, times the schedule but not times `lr`.
        warmup: updates until the peak; also the time scale of the decay, and the cool-down.
        clip_norm: largest norm of all gradients together.
    """

    name: str
    size: str
    text: str
    image_size: int = 224
    steps: int = 250_000
    batch: int = 10_240
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 10_000
    clip_norm: float = 1.0

    @property
    def image(self) -> str:
        """Name of the image tower."""
        return f"scratch:map?image={self.image_size}&patch=16&{SIZES[self.size]}"

    def build(self) -> DualTower:
        """The model on the meta device: shapes without memory, trainable."""
        return _built(self.name, self.image, self.text)

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        return parameters(self.build())

    @property
    def millions(self) -> int:
        """Learned numbers as the paper's tables have them: cut to whole millions."""
        return self.parameters // 1_000_000


def texts(image: str, words: str, packed: bool = False) -> dict[str, str]:
    """The text towers that make the family of an image tower, by the names of Table 9.

    Args:
        image: name of the image tower, `scratch:map?...`; what has a network of its own is as
            large.
        words: options of the towers that read tokens: `context=`, and at will `vocabulary=` and
            `tokens=`.
        packed: whether towers that read pixels skip blank patches; the paper's read whole pages.

    Raises:
        ValueError: another image tower.
    """
    parts = names.parse(image)
    if (parts.scheme, parts.place) != ("scratch", "map"):
        raise ValueError(f"expected an image tower like scratch:map?..., got {image!r}")
    tokens = names.parse(f"?{words}").options
    size = {key: value for key, value in parts.options.items() if key in _SIZE}
    skip = {"packed": True} if packed else {}
    return {
        "CLIP*": names.write("scratch:words", **size, **tokens),
        "CLIPPO untied": names.write("scratch:pixels", **parts.options, **skip),
        "1T-CLIP": names.write("shared:words", **tokens),
        "CLIPPO": names.write("shared:pixels", **skip),
        "CLIPPO separate heads": names.write("shared:pixels", separate="heads", **skip),
        "CLIPPO separate embeddings": names.write("shared:pixels", separate="embeddings", **skip),
        "CLIPPO separate embeddings and heads": names.write(
            "shared:pixels", separate="both", **skip
        ),
    }


def clippo_models(tokens: str = "clip") -> dict[str, ClippoModel]:
    """The models of Tables 6 and 9 by name, in the order of their sizes.

    Args:
        tokens: of the baselines, as `vocabularies` has it; the paper's are T5's. Any vocabulary of
            32,000 ids gives the same counts.
    """
    words = f"context={CONTEXT}&vocabulary={VOCABULARY}&tokens={tokens}"
    base = ClippoModel("", "B/16", "").image
    listed = [
        ClippoModel(name, "B/16", text, steps=250_000 if name in _LONG else 100_000)
        for name, text in texts(base, words).items()
    ]
    one = f"shared:words?{words}"
    listed += [
        ClippoModel("1T-CLIP L/16", "L/16", one),
        ClippoModel("CLIPPO L/16", "L/16", "shared:pixels"),
        ClippoModel("1T-CLIP 384px", "B/16", one, 384, 270_000),
        ClippoModel("CLIPPO 384px", "B/16", "shared:pixels", 384, 270_000),
        ClippoModel("1T-CLIP L/16 384px", "L/16", one, 384, 270_000),
        ClippoModel("CLIPPO L/16 384px", "L/16", "shared:pixels", 384, 270_000),
    ]
    return {model.name: model for model in listed}


def counts() -> pd.DataFrame:
    """Learned numbers of all models, one row each: exact, and as the paper's tables have them."""
    return pd.DataFrame([
        {"model": each.name, "parameters": each.parameters, "#param.": f"{each.millions}M"}
        for each in clippo_models().values()
    ])  # fmt: skip


@lru_cache(maxsize=32)
def _built(name: str, image: str, text: str) -> DualTower:
    return dual(image, text, EMBED, name=name, device="meta")
