"""Two towers and the linear maps into the space they share.

Source: Radford et al. 2021, sections 2.3 and 2.5, Fig. 3.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from towers.losses import LOG_SCALE_MAX
from towers.models.encoders import ImageTower, TextTower
from towers.models.weights import checksum


class DualTower(nn.Module):
    """Images and texts in one space, where cosine similarity says how well they match.

    Attributes:
        image: gives `image_features` (I_f in Fig. 3).
        text: gives `text_features` (T_f).
        image_proj: linear (W_i), or the identity where the tower's features are in the shared space
            already.
        text_proj: the same for texts (W_t); the very same one where the text tower's pairing is
            tied.
        log_scale: learned; the logits' multiplier is its exponential (t in Fig. 3).
        name: of the pair, for records.
        embed: axis length of the shared space.
    """

    def __init__(
        self,
        image: ImageTower,
        text: TextTower,
        embed: int | None,
        name: str,
        seed: int = 0,
        bias: bool | None = None,
    ) -> None:
        """Join two towers, as the text tower's pairing has it.

        Args:
            image: the image tower.
            text: the text tower.
            embed: axis length of the shared space; None adds no projection.
            name: of the pair.
            seed: of the projections, drawn from a normal of standard deviation width ** -0.5;
                biases begin at 0.
            bias: whether projections have one; None: as the text tower's pairing says.

        Raises:
            ValueError: no projection, or one for both, and the towers differ in width.
        """
        super().__init__()
        pairing = text.pairing
        if (embed is None or pairing.tied) and image.width != text.width:
            raise ValueError(
                "expected towers of one width where there is no projection, got "
                f"{image.width} and {text.width}; give embed"
            )
        self.image, self.text, self.name = image, text, name
        self.embed = image.width if embed is None else embed
        generator = torch.Generator().manual_seed(seed)
        bias = pairing.bias if bias is None else bias
        self.image_proj = _projection(image.width, embed, bias, generator)
        self.text_proj = (
            self.image_proj if pairing.tied else _projection(text.width, embed, bias, generator)
        )
        self.log_scale = nn.Parameter(torch.tensor(pairing.log_scale))

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The multiplier of similarities, exp(log_scale)."""
        return self.log_scale.exp()

    @torch.no_grad()
    def clip_scale_(self) -> None:
        """Bring `log_scale` back to at most log(100); call it after each optimiser step.

        A pair whose pairing is unbounded stays as it is.

        The parameter itself is clipped, as a bound inside the forward pass would stop the
        gradient of a scale that overshot, and it could never come back.

        Source: Radford et al. 2021, section 2.5.
        """
        if self.text.pairing.bounded:
            self.log_scale.clamp_(max=LOG_SCALE_MAX)

    def embed_images(
        self, images: Float[Tensor, "batch 3 height width"] | Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch embed"]:
        """Unit-norm float32 embeddings of transformed images, or of image features.

        Raises:
            ValueError: neither images (4 axes) nor features (2 axes, the tower's width).
        """
        features = self.image(images) if images.ndim == 4 else images
        return _unit(_project(features, self.image_proj, self.image))

    def embed_texts(
        self, texts: Mapping[str, Tensor] | Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch embed"]:
        """Unit-norm float32 embeddings of tokens (`text.tokenize`), or of text features.

        Raises:
            ValueError: neither tokens nor features (2 axes, the tower's width).
        """
        features = texts if isinstance(texts, Tensor) else self.text(texts)
        return _unit(_project(features, self.text_proj, self.text))

    @property
    def own_weights(self) -> dict[str, Tensor]:
        """What the pair adds to its towers, each once: the projections and `log_scale`."""
        parts = {"image_proj", "text_proj", "log_scale"}
        parts -= {"text_proj"} if self.text.pairing.tied else set()
        return {n: t for n, t in self.state_dict().items() if n.split(".")[0] in parts}

    @property
    def checksum(self) -> str:
        """SHA-256 of all weights: of both towers' checksums and of its own weights."""
        towers = bytes.fromhex(self.image.checksum + self.text.checksum)
        return checksum({
            "towers": torch.frombuffer(bytearray(towers), dtype=torch.uint8), **self.own_weights
        })  # fmt: skip


def _projection(width: int, embed: int | None, bias: bool, generator: torch.Generator) -> nn.Module:
    if embed is None:
        return nn.Identity()
    linear = nn.Linear(width, embed, bias=bias)
    with torch.no_grad():
        linear.weight.normal_(std=1 / math.sqrt(width), generator=generator)
        if bias:
            linear.bias.zero_()
    return linear


def _project(features: Tensor, projection: nn.Module, tower: ImageTower | TextTower) -> Tensor:
    if features.ndim != 2 or features.shape[1] != tower.width:
        raise ValueError(
            f"expected inputs of {tower.name} or its features (batch, {tower.width}), got shape "
            f"{tuple(features.shape)}; give what this very tower takes or gives"
        )
    return projection(features)


def _unit(embeds: Tensor) -> Tensor:
    return F.normalize(embeds.float(), dim=-1)
