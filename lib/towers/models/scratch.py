"""Towers to train from scratch, by name: `scratch:KIND?OPTION=VALUE&...`.

    scratch:vit?image=64&patch=8&width=128&depth=4&heads=4
        CLIP's Vision Transformer; also pool=token|mean|attention, patch_drop=0.5 (in training
        mode only), checkpointing=true
    scratch:resnet?image=64&width=32&layers=2,2,2,2
        CLIP's modified ResNet with attention pooling; features of 32 times the width
    scratch:transformer?width=128&depth=4&heads=4&context=32
        CLIP's causal text transformer, read at the end mark; also checkpointing=true
    scratch:bow?width=128&context=32
        bag of words: the mean of the tokens' embeddings

    scratch:map, scratch:pixels, scratch:words
        those of CLIPPO and its baselines, see `family`

All take `seed=`; image towers `resize=crop|pad|squash`; text towers `vocabulary=` (see
`tokens.ClipTokens`). Projections into a shared space belong to the pair, not to the tower.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from towers import files
from towers.models import family, options
from towers.models.encoders import ImageTower, TextTower
from towers.models.preprocessing import Preprocessing, Resize
from towers.models.tokens import FULL, ClipTokens

PREFIX = "scratch:"
MLP_RATIO = 4.0


class CausalText(nn.Module):
    """Token ids to the state at the end mark of a causal transformer.

    Source: Radford et al. 2021, section 2.4.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch width"]:
        """Features of texts; `ids` has as many tokens as the transformer has positions."""
        return self.transformer(ids)


class MeanOfWords(nn.Module):
    """Token ids to the mean of the embeddings between the start mark and the end mark.

    Source: Radford et al. 2021, section 2.3 and Fig. 3 ("CBOW").
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch width"]:
        """Features of texts, whatever the order of their words; zero for an empty text."""
        places = torch.arange(ids.shape[1], device=ids.device)
        words = (places > 0) & (places < ids.argmax(1, keepdim=True))  # (batch, tokens)
        kept = words[..., None].to(self.table.weight.dtype)
        return (self.table(ids) * kept).sum(1) / kept.sum(1).clamp(min=1)


@dataclass(frozen=True)
class VisionTransformer:
    """`scratch:vit`; the options as the module's text has them."""

    image: int
    patch: int
    width: int
    depth: int
    heads: int
    pool: Literal["token", "mean", "attention"] = "token"
    patch_drop: float = 0.0
    checkpointing: bool = False
    resize: Resize = "pad"
    seed: int = 0

    limits: ClassVar = {"patch_drop": (0.0, 0.99)}

    def __post_init__(self) -> None:
        options.divides(self.image, self.patch, "image as a multiple of patch")
        options.divides(self.width, self.heads, "width as a multiple of heads")

    @property
    def features(self) -> int:
        """Axis length of the features."""
        return self.width

    def tower(self, name: str) -> ImageTower:
        """The untrained tower."""
        return _image_tower(name, self)

    def encoder(self) -> nn.Module:
        """open_clip's Vision Transformer without its projection."""
        from open_clip.transformer import VisionTransformer as Network

        network = Network(
            self.image, self.patch, self.width, self.depth, self.heads, MLP_RATIO,
            patch_dropout=self.patch_drop, output_dim=self.width,
            attentional_pool=self.pool == "attention", attn_pooler_queries=1,
            attn_pooler_heads=self.heads, pool_type="avg" if self.pool == "mean" else "tok",
        )  # fmt: skip
        network.proj = None
        network.set_grad_checkpointing(self.checkpointing)
        return network


@dataclass(frozen=True)
class ModifiedResNet:
    """`scratch:resnet`; the options as the module's text has them."""

    image: int
    width: int
    layers: tuple[int, int, int, int]
    resize: Resize = "pad"
    seed: int = 0

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        options.divides(self.image, 32, "image as a multiple of 32")
        options.divides(self.width, 2, "width as a multiple of 2")

    @property
    def features(self) -> int:
        """Axis length of the features: what the attention pooling gives."""
        return 32 * self.width

    def tower(self, name: str) -> ImageTower:
        """The untrained tower."""
        return _image_tower(name, self)

    def encoder(self) -> nn.Module:
        """open_clip's modified ResNet, pooled to its full width; heads of 64 as in CLIP."""
        from open_clip.modified_resnet import ModifiedResNet as Network

        heads = self.features // 64
        return Network(list(self.layers), self.features, heads, self.image, self.width)


@dataclass(frozen=True)
class TextTransformer:
    """`scratch:transformer`; the options as the module's text has them."""

    width: int
    depth: int
    heads: int
    context: int
    vocabulary: int = FULL
    checkpointing: bool = False
    seed: int = 0

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        options.divides(self.width, self.heads, "width as a multiple of heads")
        ClipTokens(self.context, self.vocabulary)

    @property
    def features(self) -> int:
        """Axis length of the features."""
        return self.width

    def tower(self, name: str) -> TextTower:
        """The untrained tower."""
        return _text_tower(name, self)

    def encoder(self) -> nn.Module:
        """open_clip's text transformer without its projection."""
        from open_clip.transformer import TextTransformer as Network

        network = Network(
            self.context, self.vocabulary, self.width, self.heads, self.depth, MLP_RATIO,
            output_dim=None,
        )  # fmt: skip
        network.set_grad_checkpointing(self.checkpointing)
        return CausalText(network)


@dataclass(frozen=True)
class BagOfWords:
    """`scratch:bow`; the options as the module's text has them."""

    width: int
    context: int
    vocabulary: int = FULL
    seed: int = 0

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        ClipTokens(self.context, self.vocabulary)

    @property
    def features(self) -> int:
        """Axis length of the features."""
        return self.width

    def tower(self, name: str) -> TextTower:
        """The untrained tower."""
        return _text_tower(name, self)

    def encoder(self) -> nn.Module:
        """The mean of embeddings."""
        return MeanOfWords(self.vocabulary, self.width)


Config = VisionTransformer | ModifiedResNet | TextTransformer | BagOfWords | family.Scratch
KINDS: dict[str, type[Config]] = {
    "vit": VisionTransformer,
    "resnet": ModifiedResNet,
    "transformer": TextTransformer,
    "bow": BagOfWords,
    **family.SCRATCH,
}


def tower(name: str, device: str | torch.device = "cpu") -> ImageTower | TextTower:
    """The untrained tower of a name, trainable, in training mode.

    Its weights are drawn from the name's own seed; the global generators are neither read nor
    moved.

    Args:
        name: see the module's text for the grammar.
        device: where its weights go; "meta" makes shapes without memory.

    Raises:
        ValueError: an unknown kind, an unknown, missing, repeated or unfit option.
    """
    config = read(name)
    with _seeded(name, config.seed, device):
        made = config.tower(name)
    made.named = False
    return made.to(device)


def sharing(name: str, image: ImageTower) -> TextTower:
    """The text tower of a name with `shared:` (see `family`), on the network of an image tower.

    What it adds is drawn from the name's own seed; it is as frozen as the image tower is.

    Raises:
        ValueError: an unknown kind or option, or an image tower that it cannot share.
    """
    config = family.read(name)
    with _seeded(name, config.seed, image.device):
        made = config.tower(name, image)
    for weight in made.encoder.parameters():
        weight.requires_grad_(not image.frozen)
    made.named = image.named and not made.own_weights
    return made.to(image.device)


def read(name: str) -> Config:
    """What a name asks for.

    Raises:
        ValueError: as `tower` does.
    """
    kind, _, listed = name.removeprefix(PREFIX).partition("?")
    if kind not in KINDS or not name.startswith(PREFIX):
        raise ValueError(
            f"expected {PREFIX}KIND?OPTIONS with one of {', '.join(KINDS)}, got {name!r}"
        )
    return options.read(KINDS[kind], listed, name)


@contextlib.contextmanager
def _seeded(name: str, seed: int, device: str | torch.device) -> Iterator[None]:
    """What is drawn inside follows the kind and the seed of a name; "meta" draws nothing."""
    kind = name.partition(":")[2].partition("?")[0]
    drawn = files.sha256(f"{kind} {seed}".encode())
    meta = torch.device(device).type == "meta"
    with torch.random.fork_rng(devices=[]), torch.device("meta" if meta else "cpu"):
        torch.default_generator.manual_seed(int(drawn[:15], 16))
        yield


def _image_tower(name: str, config: VisionTransformer | ModifiedResNet) -> ImageTower:
    half = (0.5,) * 3
    transform = Preprocessing(config.image, half, half, resize=config.resize)
    return ImageTower(name, config.encoder(), config.features, transform)


def _text_tower(name: str, config: TextTransformer | BagOfWords) -> TextTower:
    tokens = ClipTokens(config.context, config.vocabulary)
    return TextTower(name, config.encoder(), config.features, tokens, tokens.recipe)
