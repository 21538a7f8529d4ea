"""Towers to train from scratch, by name: `scratch:KIND?OPTION=VALUE&...`.

    scratch:vit?image=64&patch=8&width=128&depth=4&heads=4
        CLIP's Vision Transformer; also pool=token|mean|attention (what is read: the class token,
        the mean of all tokens, an attention over them), patch_drop=0.5 (share of the patches that
        are left out in training mode), checkpointing=true
    scratch:resnet?image=64&width=32&layers=2,2,2,2
        CLIP's modified ResNet with attention pooling; features of 32 times the width
    scratch:transformer?width=128&depth=4&heads=4&context=32
        CLIP's causal text transformer, read at the end mark; also checkpointing=true
    scratch:bow?width=128&context=32
        bag of words: the mean of the tokens' embeddings

    scratch:map, scratch:pixels, scratch:words
        those of CLIPPO and its baselines, see `family`

Each is a function below, whose keyword arguments are the options::

    image           side of the pictures in pixels, a multiple of `patch`, of a ResNet of 32
    patch           side of a patch in pixels
    width           axis length of the states and the features, a multiple of `heads`; of a ResNet
                    the channels of its stem, even
    depth, layers   blocks; of each of a ResNet's four stages
    heads           of each attention
    context         tokens of a text
    vocabulary      ids of a text tower, see `tokens.ClipTokens`
    resize          how pictures become square: crop, pad or squash
    checkpointing   keep less while training, and compute it again
    seed            of the first weights

Sizes that do not divide each other raise a ValueError, as does a vocabulary that there is not.
Projections into a shared space belong to the pair, not to the tower.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from towers import names
from towers.models import family
from towers.models.encoders import ImageTower, TextTower
from towers.models.preprocessing import HALF, Preprocessing, Resize
from towers.models.seeds import seeded
from towers.models.tokens import FULL, ClipTokens
from towers.names import Depth, Range, Seed, Size

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


def vit(
    *, image: Size, patch: Size, width: Size, depth: Depth, heads: Size,
    pool: Literal["token", "mean", "attention"] = "token",
    patch_drop: Annotated[float, Range(0, 0.99)] = 0.0, checkpointing: bool = False,
    resize: Resize = "pad", seed: Seed = 0,
) -> ImageTower:  # fmt: skip
    """`scratch:vit`: open_clip's Vision Transformer without its projection."""
    from open_clip.transformer import VisionTransformer

    names.divides(image, patch, "image as a multiple of patch")
    names.divides(width, heads, "width as a multiple of heads")
    with seeded("vit", seed):
        network = VisionTransformer(
            image, patch, width, depth, heads, MLP_RATIO, patch_dropout=patch_drop,
            output_dim=width, attentional_pool=pool == "attention", attn_pooler_queries=1,
            attn_pooler_heads=heads, pool_type="avg" if pool == "mean" else "tok",
        )  # fmt: skip
    network.proj = None
    network.set_grad_checkpointing(checkpointing)
    return ImageTower("vit", network, width, Preprocessing(image, HALF, HALF, resize=resize))


def resnet(
    *, image: Size, width: Size, layers: tuple[Depth, Depth, Depth, Depth],
    resize: Resize = "pad", seed: Seed = 0,
) -> ImageTower:  # fmt: skip
    """`scratch:resnet`: open_clip's modified ResNet, pooled to its full width; heads of 64."""
    from open_clip.modified_resnet import ModifiedResNet

    names.divides(image, 32, "image as a multiple of 32")
    names.divides(width, 2, "width as a multiple of 2")
    features = 32 * width
    with seeded("resnet", seed):
        network = ModifiedResNet(list(layers), features, features // 64, image, width)
    return ImageTower("resnet", network, features, Preprocessing(image, HALF, HALF, resize=resize))


def transformer(
    *, width: Size, depth: Depth, heads: Size, context: Size, vocabulary: Size = FULL,
    checkpointing: bool = False, seed: Seed = 0,
) -> TextTower:  # fmt: skip
    """`scratch:transformer`: open_clip's text transformer without its projection."""
    from open_clip.transformer import TextTransformer

    names.divides(width, heads, "width as a multiple of heads")
    tokens = ClipTokens(context, vocabulary)
    with seeded("transformer", seed):
        network = TextTransformer(
            context, vocabulary, width, heads, depth, MLP_RATIO, output_dim=None
        )
    network.set_grad_checkpointing(checkpointing)
    return TextTower("transformer", CausalText(network), width, tokens, tokens.recipe)


def bow(*, width: Size, context: Size, vocabulary: Size = FULL, seed: Seed = 0) -> TextTower:
    """`scratch:bow`: the mean of the tokens' embeddings."""
    tokens = ClipTokens(context, vocabulary)
    with seeded("bow", seed):
        network = MeanOfWords(vocabulary, width)
    return TextTower("bow", network, width, tokens, tokens.recipe)


TOWERS: dict[str, Callable[..., ImageTower | TextTower]] = {
    "scratch:vit": vit, "scratch:resnet": resnet, "scratch:transformer": transformer,
    "scratch:bow": bow, **family.TOWERS,
}  # fmt: skip


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
    made = _built(TOWERS, name, device)
    made.named = False
    return made


def sharing(name: str, image: ImageTower) -> TextTower:
    """The text tower of a name with `shared:` (see `family`), on the network of an image tower.

    What it adds is drawn from the name's own seed; it is as frozen as the image tower is.

    Raises:
        ValueError: an unknown kind or option, or an image tower that it cannot share.
    """
    made = _built(family.SHARED, name, image.device, image)
    for weight in made.encoder.parameters():
        weight.requires_grad_(not image.frozen)
    made.named = image.named and not made.own_weights
    return made


def _built(
    towers: dict[str, Callable], name: str, device: str | torch.device, *given: ImageTower
) -> ImageTower | TextTower:
    """What a name asks for, on a device; "meta" draws nothing."""
    parts = names.parse(name)
    build = names.pick(towers, f"{parts.scheme}:{parts.place}", "a tower", name)
    options = names.options(build, parts)
    with torch.device("meta" if torch.device(device).type == "meta" else "cpu"):
        try:
            made = build(*given, **options)
        except ValueError as error:
            raise ValueError(f"{error} in {name!r}") from None
    made.name = name
    return made.to(device)
