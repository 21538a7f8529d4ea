"""Small trainable modules inside frozen transformers, and the frozen transformer back again.

A layerwise adapter squeezes states to a fraction of their width and adds what comes of it to them.
In pre-norm layers (ViT) it changes what goes into both norms, `attn(norm1(adapter(x)))`, and
leaves the residual path alone; in post-norm layers (BERT) what both sublayers give, behind the
dense layer and its dropout and before the residual and its norm.

Deep adapters are more layers of the encoder's own kind on top of its stack.

Nothing of timm, open_clip or transformers is copied or replaced: a layerwise adapter becomes a
child of the norm (or dropout) whose input (or output) it changes, through a hook that is a plain
function. So the weights that were there keep their names, and copies, pickles, state dicts and
replicas have the adapters with all others.

With `zero=true` the last matrix of each adapter is zero, and that of each sublayer in a deep one:
nothing is added yet, but gradients flow. A tower with layerwise adapters then computes bit by bit
what it did before, and so does a pre-norm tower with deep ones. The norms of a post-norm layer
cannot be the identity: there a deep adapter begins as two more norms.

Source: Khan and Fu 2023, section 2.2, Figs. 2 and 3; Houlsby et al. 2019.
"""

import copy
from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from towers import files, names
from towers.models.stacks import stack
from towers.names import Depth, Seed, Size

STD = 0.02
"""Of the first weights."""
CHILD = "adapter"
"""What a module calls the adapter that it has as a child."""


class Adapter(nn.Module):
    """States plus what a bottleneck makes of them: x + up(GELU(down(x))).

    Attributes:
        down: to the bottleneck.
        up: and back.
        hook: calls it; `remove` takes it away.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.hook = None

    def forward(self, states: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The changed states."""
        return states + self.up(F.gelu(self.down(states)))


@dataclass(frozen=True, kw_only=True)
class Layerwise:
    """Two adapters in each layer.

    Two of these that differ only in how their weights begin are equal.

    Attributes:
        reduction: the bottleneck is this part of the width.
        zero: whether they begin as the identity; else all weights are drawn from N(0, 0.02).
        seed: of the weights that are drawn.
    """

    reduction: Size = 4
    zero: bool = field(default=False, compare=False)
    seed: Seed = field(default=0, compare=False)

    def insert(self, encoder: nn.Module, name: str) -> None:
        """Put the adapters into an encoder."""
        place = stack(encoder, name)
        path, layers, anatomy = place.path, place.layers, place.anatomy
        ends = [layer.get_submodule(end) for layer in layers for end in anatomy.ends]
        inside = anatomy.before or anatomy.after
        sites = [f"{path}.{n}.{site}" for n in range(len(layers)) for site in inside]
        width = ends[0].out_features
        if self.reduction > width:
            raise ValueError(
                f"expected reduction of at most {width}, the width of {name}, got {self.reduction}"
            )
        generator = _generator(self.seed, encoder)
        for site, end in zip(sites, ends, strict=True):
            with torch.device("meta"):  # where nothing is drawn yet
                adapter = Adapter(width, width // self.reduction)
            module = encoder.get_submodule(site)
            adapter.to_empty(device=end.weight.device).to(end.weight.dtype).train(module.training)
            _draw(adapter, generator)
            if self.zero:
                nn.init.zeros_(adapter.up.weight)
            setattr(module, CHILD, adapter)
            adapter.hook = (
                module.register_forward_pre_hook(_into) if anatomy.before
                else module.register_forward_hook(_out_of)
            )  # fmt: skip

    def names(self, encoder: nn.Module, name: str) -> set[str]:
        """Names of the weights that `insert` has added to an encoder."""
        found = {at: each for at, each in encoder.named_modules() if isinstance(each, Adapter)}
        return {f"{at}.{key}" for at, each in found.items() for key in each.state_dict()}

    def numbers(self, encoder: nn.Module, name: str) -> int:
        """How many weights `insert` adds to an encoder."""
        place = stack(encoder, name)
        width = place.layers[0].get_submodule(place.anatomy.ends[0]).out_features
        bottleneck = width // self.reduction
        return 2 * len(place.layers) * (2 * width * bottleneck + width + bottleneck)

    def remove(self, encoder: nn.Module, name: str) -> None:
        """Take all adapters out of an encoder."""
        for module in [*encoder.modules()]:
            if isinstance(adapter := getattr(module, CHILD, None), Adapter):
                adapter.hook.remove()
                delattr(module, CHILD)


@dataclass(frozen=True, kw_only=True)
class Deep:
    """More layers on top of an encoder's stack.

    Two that differ only in how their weights begin are equal.

    Attributes:
        layers: how many.
        zero: whether their sublayers begin by adding nothing; else their weights are drawn from
            N(0, 0.02). Either way biases begin at 0, norms as the identity on what is normalised,
            and a layer scale as that of the last frozen layer.
        seed: of the weights that are drawn.
    """

    layers: Depth = 1
    zero: bool = field(default=False, compare=False)
    seed: Seed = field(default=0, compare=False)

    def insert(self, encoder: nn.Module, name: str) -> None:
        """Put the layers onto an encoder's stack."""
        place = stack(encoder, name)
        generator = _generator(self.seed, encoder)
        for _ in range(self.layers):
            layer = copy.deepcopy(place.layers[-1])
            _draw(layer, generator)
            if self.zero:
                for end in map(layer.get_submodule, place.anatomy.ends):
                    nn.init.zeros_(end.weight)
            place.layers.append(layer.requires_grad_(True))

    def names(self, encoder: nn.Module, name: str) -> set[str]:
        """Names of the weights that `insert` has added to an encoder."""
        place = stack(encoder, name)
        first = len(place.layers) - self.layers
        added = {first + n: layer for n, layer in enumerate(place.layers[first:])}
        return {f"{place.path}.{n}.{key}" for n, each in added.items() for key in each.state_dict()}

    def numbers(self, encoder: nn.Module, name: str) -> int:
        """How many weights `insert` adds to an encoder."""
        layer = stack(encoder, name).layers[-1]
        return self.layers * sum(weight.numel() for weight in layer.parameters())

    def remove(self, encoder: nn.Module, name: str) -> None:
        """Take the layers off an encoder's stack."""
        del stack(encoder, name).layers[-self.layers :]


Adapters = Layerwise | Deep
KINDS: dict[str, type[Adapters]] = {"layerwise": Layerwise, "deep": Deep}


def read(term: str) -> Adapters:
    """The adapters that a term describes, such as `layerwise?reduction=4&zero=true` or `deep`.

    Raises:
        ValueError: an unknown kind or option.
    """
    parts = names.parse(term)
    kind = names.pick(KINDS, parts.place, "adapters", term)
    return kind(**names.options(kind, parts))


def term(adapters: Adapters) -> str:
    """These adapters as a term that `read` takes, with every option."""
    kind = next(name for name, each in KINDS.items() if isinstance(adapters, each))
    return names.write(
        kind, **{each.name: getattr(adapters, each.name) for each in fields(adapters)}
    )


def _into(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    states, *others = inputs
    return module.adapter(states), *others


def _out_of(module: nn.Module, _: tuple[Tensor, ...], states: Tensor) -> Tensor:
    return module.adapter(states)


def _generator(seed: int, encoder: nn.Module) -> torch.Generator:
    """Of first weights: by the seed and the encoder's class, so that two towers get others."""
    drawn = files.sha256(f"adapters {seed} {type(encoder).__name__}".encode())
    return torch.Generator().manual_seed(int(drawn[:15], 16))


@torch.no_grad()
def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """First weights: matrices from N(0, `STD`), biases 0, gains 1; whatever else stays."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            part.reset_parameters()
        elif isinstance(part, nn.Linear | nn.MultiheadAttention):
            for weight in part.parameters(recurse=False):
                if weight.is_meta:
                    continue  # no memory, nothing to draw
                if weight.ndim > 1:  # on the CPU, so that every device gets the same
                    drawn = torch.empty(weight.shape).normal_(std=STD, generator=generator)
                    weight.copy_(drawn)
                else:
                    weight.zero_()
