"""Texts for a Vision Transformer: as rendered pixels, whole or packed, and as embedded tokens.

Each reader is the encoder of a text tower around a network that may be its own, or that of an image
tower (then its weights are the image tower's, and the reader holds only what it adds).

Source: Tschannen et al. 2023, sections 3 and 4.1, Table 9.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from towers import rendering
from towers.models.encoders import Tokens
from towers.models.map_vit import Trunk, packed, through
from towers.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Pages:
    """Texts to rendered pages, {"pixels": (texts, size, size)}.

    Attributes:
        size: side of a page in pixels.
    """

    size: int

    def __call__(self, texts: list[str]) -> Tokens:
        """A page for each text."""
        return {"pixels": torch.from_numpy(rendering.render(texts, size=self.size))}

    @property
    def recipe(self) -> str:
        """All of the above in one canonical line, for keys and provenance."""
        return json.dumps({"rendering": "unifont", "size": self.size})


@dataclass(frozen=True)
class InkedPatches:
    """Texts to the patches of their pages that carry ink, padded to the longest text.

    A text without ink keeps the first patch of its page, as attention must see something.

    Attributes:
        size: side of a page in pixels.
        patch: side of a patch in pixels.
    """

    size: int
    patch: int

    def __call__(self, texts: list[str]) -> Tokens:
        """{"patches": (texts, longest, patch * patch), "places": (texts, longest)}.

        A place counts the page's patches row by row; -1 stands where there is none any more.
        """
        found = rendering.to_patches(texts, patch=self.patch, size=self.size)
        longest = max(1, int(found.lengths.max(initial=0)))
        patches, places, inked = found.padded(longest)
        places = np.where(inked, places, -1)
        places[~inked.any(1), 0] = 0
        return {"patches": torch.from_numpy(patches), "places": torch.from_numpy(places)}

    @property
    def recipe(self) -> str:
        """All of the above in one canonical line, for keys and provenance."""
        return json.dumps({"rendering": "unifont", "size": self.size, "inked patches": self.patch})


class PageReader(nn.Module):
    """Whole pages through a network, as if they were pictures.

    Attributes:
        network: of any kind where it embeds the pages itself.
        embedding: of pages only; None: the network's own.
    """

    def __init__(
        self, network: nn.Module, transform: Preprocessing, embedding: PatchEmbed | None = None
    ) -> None:
        super().__init__()
        self.network, self.embedding = network, embedding
        self._transform = transform

    def forward(self, pixels: UInt8[Tensor, "batch size size"]) -> Tensor:
        """Features of pages, `width` each."""
        pages = self._transform.normalised(pixels[..., None].expand(-1, -1, -1, 3))
        if self.embedding is None:
            return self.network(pages)
        return through(self.network, self.embedding(pages) + self.network.pos_embed)


class PatchReader(nn.Module):
    """The patches that carry ink through a network; blank ones are never looked at.

    Attributes:
        network: pooled by attention.
        embedding: of pages only; None: the network's own.
    """

    def __init__(
        self, network: VisionTransformer, transform: Preprocessing,
        embedding: PatchEmbed | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.embedding = network, embedding
        self._mean, self._std = transform.mean[0], transform.std[0]

    def forward(
        self, patches: UInt8[Tensor, "batch tokens area"], places: Int[Tensor, "batch tokens"]
    ) -> Tensor:
        """Features of texts, `width` each.

        Args:
            patches: grey; the patch embedding reads them as three equal channels.
            places: of the patches on their pages; -1 where there is none.
        """
        kept = places >= 0
        convolution = (self.embedding or self.network.patch_embed).proj
        weight = convolution.weight.sum(1).flatten(1)  # (width, area)
        grey = patches[kept].float().div(255).sub(self._mean).div(self._std)
        embedded = F.linear(grey, weight, convolution.bias)
        return packed(self.network, embedded + self.network.pos_embed[0, places[kept]], kept)


class WordReader(nn.Module):
    """Embedded tokens through a network.

    Padding is read as any other token, as in the paper's baselines. Tokens that share a network
    with pictures share its positions too: only so does the paper's 1T-CLIP L/16 at 384 pixels come
    to 349 million weights.

    Attributes:
        network: pools, or gives its last token.
        table: embeddings of the vocabulary.
        positions: learned; None where the network's own are used, the first ones.
    """

    def __init__(
        self, network: VisionTransformer | Trunk, vocabulary: int, context: int, width: int
    ) -> None:
        super().__init__()
        self.network = network
        self.table = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.positions = None
        if isinstance(network, Trunk):
            self.positions = nn.Parameter(torch.empty(1, context, width))
            nn.init.normal_(self.positions, std=width**-0.5)

    def forward(self, ids: Int[Tensor, "batch tokens"]) -> Tensor:
        """Features of texts, `width` each."""
        positions = self.network.pos_embed if self.positions is None else self.positions
        return through(self.network, self.table(ids) + positions[:, : ids.shape[1]])
