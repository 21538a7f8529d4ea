"""The towers of CLIPPO and of what it is compared with, by name.

    scratch:map?image=64&patch=8&width=128&depth=4&heads=4
        image tower: timm's Vision Transformer, no class token, pooled by attention
    scratch:pixels?image=64&patch=8&width=128&depth=4&heads=4
        text tower: the same over rendered captions, with weights of its own; also packed=true
    scratch:words?width=128&depth=4&heads=4&context=32
        text tower: its blocks over tokens, read at the last place, or with pool=attention
    shared:pixels
        text tower: captions rendered as large as the image tower's pictures, and read by its very
        network; also separate=none|heads|embeddings|both, packed=true
    shared:words?context=32
        text tower: tokens with embeddings of their own, in the positions of the image tower's
        network, and read by it; also separate=none|heads

With `packed=true` blank patches are skipped; without, pages are read whole, as in the paper.
`shared:pixels` goes with any image tower where pages are read whole and embeddings are shared. All
take `seed=`; those of words `vocabulary=` and `tokens=clip` or `tokens=sentencepiece:...` (see
`vocabularies`).

A pair with one of these text towers has biases in its projections and an unbounded scale that
begins at 10; with a shared network it has one projection for both sides, unless the heads are
separate. So the names of its two towers say all of CLIP*, 1T-CLIP and CLIPPO in Table 9:

    CLIP*              scratch:map?...  scratch:words?...
    1T-CLIP            scratch:map?...  shared:words?...
    CLIPPO             scratch:map?...  shared:pixels
    CLIPPO untied      scratch:map?...  scratch:pixels?...

Source: Tschannen et al. 2023, sections 3, 4.1 and C.3.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from towers.models import map_vit, options
from towers.models.encoders import ImageTower, Pairing, TextTower
from towers.models.preprocessing import Preprocessing, Resize
from towers.models.readers import InkedPatches, PageReader, Pages, PatchReader, WordReader
from towers.models.tokens import FULL
from towers.models.vocabularies import tokens_of

PREFIX = "shared:"
LOG_SCALE_INIT = 2.302585092994046  # log 10
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that bring pixels to [-1, 1]."""

Heads = Literal["none", "heads"]
Separate = Literal["none", "heads", "embeddings", "both"]


def _pairing(tied: bool = False) -> Pairing:
    return Pairing(tied=tied, bias=True, log_scale=LOG_SCALE_INIT, bounded=False)


@dataclass(frozen=True)
class MapTower:
    """`scratch:map`; the options as the module's text has them."""

    image: int
    patch: int
    width: int
    depth: int
    heads: int
    checkpointing: bool = False
    resize: Resize = "squash"
    seed: int = 0

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        options.divides(self.image, self.patch, "image as a multiple of patch")
        options.divides(self.width, self.heads, "width as a multiple of heads")

    def tower(self, name: str) -> ImageTower:
        """The untrained tower."""
        network = map_vit.network(self.image, self.patch, self.width, self.depth, self.heads)
        network.set_grad_checkpointing(self.checkpointing)
        transform = Preprocessing(self.image, HALF, HALF, resize=self.resize)
        return ImageTower(name, network, self.width, transform)


@dataclass(frozen=True)
class PixelTower(MapTower):
    """`scratch:pixels`; the options as the module's text has them."""

    packed: bool = False

    def tower(self, name: str) -> TextTower:
        """The untrained tower."""
        image = super().tower(name)
        return _pixel_tower(name, image.encoder, image, self.packed, None, _pairing())


@dataclass(frozen=True)
class WordTower:
    """`scratch:words`; the options as the module's text has them."""

    width: int
    depth: int
    heads: int
    context: int
    vocabulary: int = FULL
    tokens: str = "clip"
    pool: Literal["last", "attention"] = "last"
    checkpointing: bool = False
    seed: int = 0

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        options.divides(self.width, self.heads, "width as a multiple of heads")
        tokens_of(self.tokens, self.context, self.vocabulary)

    def tower(self, name: str) -> TextTower:
        """The untrained tower."""
        trunk = map_vit.Trunk(self.width, self.depth, self.heads, self.pool == "attention")
        trunk.grad_checkpointing = self.checkpointing
        tokens = tokens_of(self.tokens, self.context, self.vocabulary)
        encoder = WordReader(map_vit.drawn(trunk), self.vocabulary, self.context, self.width)
        return TextTower(name, encoder, self.width, tokens, tokens.recipe, _pairing())


@dataclass(frozen=True)
class SharedPixels:
    """`shared:pixels`; the options as the module's text has them."""

    separate: Separate = "none"
    packed: bool = False
    seed: int = 0

    limits: ClassVar = {}

    def tower(self, name: str, image: ImageTower) -> TextTower:
        """The tower around the network of an image tower.

        Raises:
            ValueError: packed, or with embeddings of its own, and the network is no Vision
                Transformer pooled by attention.
        """
        embedding = None
        if self.separate in ("embeddings", "both"):
            theirs = _network(name, image).patch_embed
            embedding = map_vit.drawn(
                PatchEmbed(image.transform.size, theirs.patch_size[0], 3, image.width)
            )
        pairing = _pairing(tied=self.separate in ("none", "embeddings"))
        made = _pixel_tower(name, image.encoder, image, self.packed, embedding, pairing)
        made.borrows = True
        return made


@dataclass(frozen=True)
class SharedWords:
    """`shared:words`; the options as the module's text has them."""

    context: int
    vocabulary: int = FULL
    tokens: str = "clip"
    separate: Heads = "none"
    seed: int = 0

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        tokens_of(self.tokens, self.context, self.vocabulary)

    def tower(self, name: str, image: ImageTower) -> TextTower:
        """The tower around the network of an image tower.

        Raises:
            ValueError: the network is no Vision Transformer pooled by attention, or has fewer
                positions than texts have tokens.
        """
        tokens = tokens_of(self.tokens, self.context, self.vocabulary)
        network = _network(name, image)
        places = network.pos_embed.shape[1]
        if self.context > places:
            raise ValueError(
                f"expected context of at most {places}, the positions of {image.name!r}, got "
                f"{self.context} in {name!r}"
            )
        encoder = WordReader(network, self.vocabulary, self.context, image.width)
        pairing = _pairing(tied=self.separate == "none")
        made = TextTower(name, encoder, image.width, tokens, tokens.recipe, pairing)
        made.borrows = True
        return made


Scratch = MapTower | PixelTower | WordTower
SCRATCH: dict[str, type[Scratch]] = {"map": MapTower, "pixels": PixelTower, "words": WordTower}
Shared = SharedPixels | SharedWords
SHARED: dict[str, type[Shared]] = {"pixels": SharedPixels, "words": SharedWords}


def read(name: str) -> Shared:
    """What a name with `shared:` asks for.

    Raises:
        ValueError: an unknown kind, an unknown, missing, repeated or unfit option.
    """
    kind, _, listed = name.removeprefix(PREFIX).partition("?")
    if kind not in SHARED or not name.startswith(PREFIX):
        raise ValueError(
            f"expected {PREFIX}KIND?OPTIONS with one of {', '.join(SHARED)}, got {name!r}"
        )
    return options.read(SHARED[kind], listed, name)


def _pixel_tower(
    name: str, network: nn.Module, image: ImageTower, packed: bool,
    embedding: PatchEmbed | None, pairing: Pairing,
) -> TextTower:  # fmt: skip
    size = image.transform.size
    if packed:
        pages = InkedPatches(size, _network(name, image).patch_embed.patch_size[0])
        encoder = PatchReader(network, image.transform, embedding)
    else:
        pages, encoder = Pages(size), PageReader(network, image.transform, embedding)
    return TextTower(name, encoder, image.width, pages, pages.recipe, pairing)


def _network(name: str, image: ImageTower) -> VisionTransformer:
    """The network of an image tower, if it takes sequences of any length."""
    network = image.encoder
    fits = isinstance(network, VisionTransformer) and network.num_prefix_tokens == 0
    fits = fits and network.attn_pool is not None and len({*image.transform.mean}) == 1
    if not fits:
        raise ValueError(
            f"expected an image tower like scratch:map for {name!r}, got {image.name!r}; only "
            f"whole pages go through any network: say {PREFIX}pixels"
        )
    return network
