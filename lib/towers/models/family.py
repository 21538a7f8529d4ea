"""The towers of CLIPPO and of what it is compared with, by name.

    scratch:map?image=64&patch=8&width=128&depth=4&heads=4
        image tower: timm's Vision Transformer, no class token, pooled by attention; also, as the
        next two, checkpointing=true
    scratch:pixels?image=64&patch=8&width=128&depth=4&heads=4
        text tower: the same over rendered captions, with weights of its own; also packed=true
    scratch:words?width=128&depth=4&heads=4&context=32
        text tower: its blocks over tokens, read at the last place, or with pool=attention by an
        attention over all
    shared:pixels
        text tower: captions rendered as large as the image tower's pictures, and read by its very
        network; also separate=none|heads|embeddings|both, packed=true
    shared:words?context=32
        text tower: tokens with embeddings of their own, in the positions of the image tower's
        network, and read by it; also separate=none|heads

Each is a function below, whose keyword arguments are the options, most of them as `scratch` has
them. With `packed=true` blank patches are skipped; without, pages are read whole, as in the paper.
`separate` is what the two sides do not share: projections (heads), embeddings of patches.
`shared:pixels` goes with any image tower where pages are read whole and embeddings are shared;
whatever else is wanted of an image tower, it must be like `scratch:map`, with as many positions as
texts have tokens. Those of words take `vocabulary=` and `tokens=clip` or
`tokens=sentencepiece:...` (see `vocabularies`).

A pair with one of these text towers has biases in its projections and an unbounded scale that
begins at 10; with a shared network it has one projection for both sides, unless the heads are
separate. So the names of its two towers say all of CLIP*, 1T-CLIP and CLIPPO in Table 9:

    CLIP*              scratch:map?...  scratch:words?...
    1T-CLIP            scratch:map?...  shared:words?...
    CLIPPO             scratch:map?...  shared:pixels
    CLIPPO untied      scratch:map?...  scratch:pixels?...

Source: Tschannen et al. 2023, sections 3, 4.1 and C.3.
"""

from collections.abc import Callable
from typing import Literal

from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer

from towers import names
from towers.models import map_vit
from towers.models.encoders import ImageTower, Pairing, TextTower
from towers.models.preprocessing import HALF, Preprocessing, Resize
from towers.models.readers import InkedPatches, PageReader, Pages, PatchReader, WordReader
from towers.models.seeds import seeded
from towers.models.tokens import FULL
from towers.models.vocabularies import tokens_of
from towers.names import Depth, Seed, Size

PREFIX = "shared:"
LOG_SCALE_INIT = 2.302585092994046  # log 10


def map_pooled(
    *, image: Size, patch: Size, width: Size, depth: Depth, heads: Size,
    checkpointing: bool = False, resize: Resize = "squash", seed: Seed = 0,
) -> ImageTower:  # fmt: skip
    """`scratch:map`: timm's Vision Transformer without a class token, pooled by attention."""
    with seeded("map", seed):
        return _image_tower(image, patch, width, depth, heads, checkpointing, resize)


def pixels(
    *, image: Size, patch: Size, width: Size, depth: Depth, heads: Size,
    checkpointing: bool = False, resize: Resize = "squash", seed: Seed = 0, packed: bool = False,
) -> TextTower:  # fmt: skip
    """`scratch:pixels`: a network like that of `map_pooled`, over rendered captions."""
    with seeded("pixels", seed):
        made = _image_tower(image, patch, width, depth, heads, checkpointing, resize)
    return _page_tower(made, packed, None, _pairing())


def words(
    *, width: Size, depth: Depth, heads: Size, context: Size, vocabulary: Size = FULL,
    tokens: str = "clip", pool: Literal["last", "attention"] = "last",
    checkpointing: bool = False, seed: Seed = 0,
) -> TextTower:  # fmt: skip
    """`scratch:words`: the blocks of such a network over tokens."""
    names.divides(width, heads, "width as a multiple of heads")
    reader = tokens_of(tokens, context, vocabulary)
    with seeded("words", seed):
        trunk = map_vit.Trunk(width, depth, heads, pool == "attention")
        trunk.grad_checkpointing = checkpointing
        encoder = WordReader(map_vit.drawn(trunk), vocabulary, context, width)
    return TextTower("words", encoder, width, reader, reader.recipe, _pairing())


def shared_pixels(
    image: ImageTower, *, separate: Literal["none", "heads", "embeddings", "both"] = "none",
    packed: bool = False, seed: Seed = 0,
) -> TextTower:  # fmt: skip
    """`shared:pixels`: rendered captions, read by the network of an image tower."""
    embedding = None
    if separate in ("embeddings", "both"):
        patch = _network(image).patch_embed.patch_size[0]
        with seeded("pixels", seed):
            made = PatchEmbed(image.transform.size, patch, 3, image.width)
            embedding = map_vit.drawn(made)
    made = _page_tower(image, packed, embedding, _pairing(separate in ("none", "embeddings")))
    made.borrows = True
    return made


def shared_words(
    image: ImageTower, *, context: Size, vocabulary: Size = FULL, tokens: str = "clip",
    separate: Literal["none", "heads"] = "none", seed: Seed = 0,
) -> TextTower:  # fmt: skip
    """`shared:words`: tokens with embeddings of their own, read by an image tower's network."""
    reader = tokens_of(tokens, context, vocabulary)
    network = _network(image)
    places = network.pos_embed.shape[1]
    if context > places:
        raise ValueError(
            f"expected context of at most {places}, the positions of {image.name!r}, got {context}"
        )
    with seeded("words", seed):
        encoder = WordReader(network, vocabulary, context, image.width)
    pairing = _pairing(tied=separate == "none")
    made = TextTower("words", encoder, image.width, reader, reader.recipe, pairing)
    made.borrows = True
    return made


TOWERS: dict[str, Callable[..., ImageTower | TextTower]] = {
    "scratch:map": map_pooled, "scratch:pixels": pixels, "scratch:words": words,
}  # fmt: skip
SHARED: dict[str, Callable[..., TextTower]] = {
    "shared:pixels": shared_pixels, "shared:words": shared_words,
}  # fmt: skip


def _pairing(tied: bool = False) -> Pairing:
    return Pairing(tied=tied, bias=True, log_scale=LOG_SCALE_INIT, bounded=False)


def _image_tower(
    image: int, patch: int, width: int, depth: int, heads: int, checkpointing: bool, resize: Resize
) -> ImageTower:
    names.divides(image, patch, "image as a multiple of patch")
    names.divides(width, heads, "width as a multiple of heads")
    network = map_vit.network(image, patch, width, depth, heads)
    network.set_grad_checkpointing(checkpointing)
    return ImageTower("map", network, width, Preprocessing(image, HALF, HALF, resize=resize))


def _page_tower(
    image: ImageTower, packed: bool, embedding: PatchEmbed | None, pairing: Pairing
) -> TextTower:
    """Captions as pages that the network of an image tower reads."""
    network, size = image.encoder, image.transform.size
    if packed:
        pages = InkedPatches(size, _network(image).patch_embed.patch_size[0])
        encoder = PatchReader(network, image.transform, embedding)
    else:
        pages, encoder = Pages(size), PageReader(network, image.transform, embedding)
    return TextTower("pixels", encoder, image.width, pages, pages.recipe, pairing)


def _network(image: ImageTower) -> VisionTransformer:
    """The network of an image tower, if it takes sequences of any length."""
    network = image.encoder
    fits = isinstance(network, VisionTransformer) and network.num_prefix_tokens == 0
    fits = fits and network.attn_pool is not None and len({*image.transform.mean}) == 1
    if not fits:
        raise ValueError(
            f"expected an image tower like scratch:map, got {image.name!r}; only whole pages go "
            f"through any network: say {PREFIX}pixels"
        )
    return network
