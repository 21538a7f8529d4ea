"""Image and text towers: an encoder, the preparation of its inputs, and a checksum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from towers.losses import LOG_SCALE_INIT
from towers.models.adapters import Adapters
from towers.models.preprocessing import Preprocessing
from towers.models.weights import checksum

Tokens = dict[str, Tensor]
"""Named tensors whose first axis is the batch, as the text encoder's `forward` takes them."""

BORROWED = "network."
"""How an encoder that borrows an image tower's network names the keys of that network."""


@dataclass(frozen=True)
class Pairing:
    """How a text tower's pair is built, its projections and its scale; by default as CLIP's.

    Attributes:
        tied: whether one projection serves both sides.
        bias: whether projections have one.
        log_scale: logarithm of the first multiplier of similarities.
        bounded: whether that multiplier stays at or below 100.
    """

    tied: bool = False
    bias: bool = False
    log_scale: float = LOG_SCALE_INIT
    bounded: bool = True


class Tower(nn.Module):
    """An encoder with a name, a width and a checksum.

    A tower without a parameter that requires a gradient is frozen: it stays in evaluation mode,
    also when a model around it is set to train. `requires_grad_(True)` unfreezes it. Where only
    some parameters require one (see `trainable`), parts whose parameters are all locked stay in
    evaluation mode: they drop nothing out and count no statistics. A part without parameters, such
    as a dropout, goes with what it stands in.

    Attributes:
        name: as `models.load` takes it.
        width: axis length of its features.
        recipe: one line that says how raw inputs become its own; part of the features' key.
        encoder: the network itself.
        named: whether the name alone brings these weights back. It does not for a tower from
            scratch, nor for one that was trained: their weights belong into a checkpoint.
        moved: names of the encoder's tensors that were trained, or inserted, since the name brought
            the others.
        adapters: that were inserted; None: none.
        borrows: whether the encoder's `network` belongs to the image tower that it is paired with.
    """

    borrows = False

    def __init__(self, name: str, encoder: nn.Module, width: int, recipe: str) -> None:
        super().__init__()
        self.name, self.width, self.recipe, self.encoder = name, width, recipe, encoder
        self.named = True
        self.moved: frozenset[str] = frozenset()
        self.adapters: Adapters | None = None
        self._checksum: tuple[tuple, str] | None = None

    @property
    def frozen(self) -> bool:
        """Whether no parameter requires a gradient."""
        return not any(parameter.requires_grad for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    @property
    def checksum(self) -> str:
        """SHA-256 of the weights (`weights.checksum`), computed again only once they changed."""
        state = self.encoder.state_dict()
        seen = tuple((name, t.data_ptr(), t._version, t.device) for name, t in state.items())
        if self._checksum is None or self._checksum[0] != seen:
            self._checksum = (seen, checksum(state))
        return self._checksum[1]

    @property
    def own_weights(self) -> dict[str, Tensor]:
        """The encoder's weights by name, without those that it borrows."""
        state = self.encoder.state_dict()
        return {n: t for n, t in state.items() if not (self.borrows and n.startswith(BORROWED))}

    def freeze(self) -> "Tower":
        """Evaluation mode, and no gradient for any weight; returns itself."""
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Tower":
        """Training mode, but for what is locked; from then on its name no longer says the rest."""
        mode = mode and not self.frozen
        self._checksum = None  # fused optimisers change weights without a mark on them
        super().train(mode)
        if mode and all(weight.requires_grad for weight in self.encoder.parameters()):
            self.named = False
        elif mode:
            _rest(self.encoder)
            self.moved |= self._trainable
        return self

    @property
    def _trainable(self) -> frozenset[str]:
        """Names of the encoder's tensors that an update can change as it is now."""
        named = self.encoder.named_parameters(remove_duplicate=False)
        weights = {name for name, weight in named if weight.requires_grad}
        return frozenset(weights | {
            f"{path}.{name}"
            for path, module in self.encoder.named_modules()
            if isinstance(module, _NormBase) and module.training
            for name, _ in module.named_buffers(recurse=False)
        })  # fmt: skip

    @property
    def stored_weights(self) -> dict[str, Tensor]:
        """The weights that a checkpoint has to hold, since the name does not bring them back."""
        own = self.own_weights
        kept = self.moved | (frozenset() if self.frozen else self._trainable)
        return {name: each for name, each in own.items() if not self.named or name in kept}

    def adapt(self, adapters: Adapters) -> "Tower":
        """Insert trainable adapters, what was there stays as it is; returns itself.

        Raises:
            ValueError: it has others, borrows its network, or is no transformer that is known.
        """
        if self.adapters not in (None, adapters) or self.borrows:
            has = "a network of another tower" if self.borrows else repr(self.adapters)
            raise ValueError(
                f"expected a tower of its own, without other adapters, to insert {adapters} into, "
                f"got {self.name} with {has}; call its plain() first, or choose another"
            )
        if self.adapters is None:
            adapters.insert(self.encoder, self.name)
            self.moved |= adapters.names(self.encoder, self.name)
            self.adapters = adapters
        return self

    def plain(self) -> "Tower":
        """Take the adapters out again: the tower that it was without them; returns itself."""
        if self.adapters is not None:
            self.adapters.remove(self.encoder, self.name)
            self.adapters = None
            self.moved &= frozenset(self.encoder.state_dict())
        return self

    def extra_repr(self) -> str:
        count = sum(parameter.numel() for parameter in self.parameters())
        state = "frozen" if self.frozen else "trainable"
        return f"{self.name!r}, width={self.width}, {count:,} parameters, {state}"


def _rest(module: nn.Module) -> None:
    """Evaluation mode for whatever holds locked weights only, and for locked statistics."""
    weights = list(module.parameters())
    if weights and not any(weight.requires_grad for weight in weights):
        module.eval()
        return
    learns = weights and all(weight.requires_grad for weight in weights)
    if isinstance(module, _NormBase) and not learns:
        module.eval()
    for child in module.children():
        _rest(child)


class ImageTower(Tower):
    """Pictures to image features.

    Attributes:
        transform: one picture to one input, (3, size, size).
    """

    def __init__(self, name: str, encoder: nn.Module, width: int, transform: Preprocessing) -> None:
        super().__init__(name, encoder.to(memory_format=torch.channels_last), width,
                         transform.recipe)  # fmt: skip
        self.transform = transform

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch width"]:
        """Image features: what the encoder gives, neither projected by us nor normalised."""
        return self.encoder(images.contiguous(memory_format=torch.channels_last))


class TextTower(Tower):
    """Texts to text features.

    Attributes:
        pairing: how its pair is built.
    """

    def __init__(
        self,
        name: str,
        encoder: nn.Module,
        width: int,
        tokenizer: Callable[[list[str]], Tokens],
        recipe: str,
        pairing: Pairing = Pairing(),
    ) -> None:
        super().__init__(name, encoder, width, recipe)
        self._tokenizer, self.pairing = tokenizer, pairing

    def tokenize(self, texts: list[str]) -> Tokens:
        """Texts as the encoder's input, padded to one length and cut where it can take no more.

        Raises:
            ValueError: not a list of strings.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"expected a list of strings to tokenize, got {type(texts).__name__}; "
                "wrap a single text in a list"
            )
        return self._tokenizer(list(texts))

    def forward(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "batch width"]:
        """Text features: what the tower's own pipeline gives."""
        return self.encoder(**tokens)


def made_of(model: nn.Module) -> set[str]:
    """Python modules of all parts of a tower or a pair, preprocessing and tokenizer included."""
    parts = [*model.modules()]
    parts += [part.transform for part in parts if isinstance(part, ImageTower)]
    parts += [part._tokenizer for part in parts if isinstance(part, TextTower)]
    return {part.__module__ for part in parts}
