"""What may move in one tower: the terms of a policy (see `trainable`), each by itself.

Weights are chosen by the type of the module that they belong to, and by their place in the stack
of layers; never by what a name contains.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from towers import names
from towers.models.adapters import Adapters, Deep, Layerwise
from towers.models.encoders import Tower
from towers.models.stacks import stack
from towers.names import Depth, Seed

BIASES = {
    nn.Linear: "bias",
    _ConvNd: "bias",
    nn.LayerNorm: "bias",
    nn.GroupNorm: "bias",
    _NormBase: "bias",
    nn.MultiheadAttention: "in_proj_bias",
}
"""What the additive bias of a module is called, by the module's type."""


@dataclass(frozen=True, kw_only=True)
class Locked:
    """`locked`: nothing moves."""

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move: none."""
        return set()


@dataclass(frozen=True, kw_only=True)
class Everything:
    """`everything`: all weights move."""

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move: all."""
        return {name for name, _ in tower.encoder.named_parameters(remove_duplicate=False)}


@dataclass(frozen=True, kw_only=True)
class LayerNorms:
    """`layer-norms`: gains and biases of layer norms move.

    Attributes:
        layers: in which of them, as a Python slice; a slice leaves out norms outside of layers.

    Source: Khan and Fu 2023, section 2.3, Fig. 5.
    """

    layers: str = ":"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{0,3}:\d{0,3}", self.layers):
            raise ValueError(f"expected layers as a slice such as 4: or 0:6, got {self.layers!r}")

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move: gains and biases."""
        names = _of_types(tower.encoder, {nn.LayerNorm: ("weight", "bias")})
        if self.layers != ":":
            first, last = (int(end) if end else None for end in self.layers.split(":"))
            names = _within(names, _layers(tower)[first:last])
        return names


@dataclass(frozen=True, kw_only=True)
class BitFit:
    """`bitfit`: biases move.

    Source: Ben Zaken et al. 2022; Khan and Fu 2023, section 2.3, which speaks of the layers, while
    the released code unlocks biases outside of them too, as here.
    """

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move: additive biases."""
        return _of_types(tower.encoder, {kind: (name,) for kind, name in BIASES.items()})


@dataclass(frozen=True, kw_only=True)
class Random:
    """`random`: all weights of some layers move, which a seed draws.

    The released code draws a part of each layer instead, and anew on every rank.

    Attributes:
        layers: how many.
        seed: draws them.
    """

    layers: Depth
    seed: Seed = 0

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move; the same ones on every rank.

        Raises:
            ValueError: the tower has fewer layers.
        """
        paths = _layers(tower)
        if self.layers > len(paths):
            raise ValueError(
                f"expected at most {len(paths)} random layers, which {tower.name} has, got "
                f"{self.layers}"
            )
        order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(self.seed))
        return _within(Everything().moves(tower), [paths[n] for n in order[: self.layers].tolist()])


Term = Locked | Everything | LayerNorms | BitFit | Random | Adapters
TERMS: dict[str, type[Term]] = {
    "locked": Locked,
    "everything": Everything,
    "layer-norms": LayerNorms,
    "bitfit": BitFit,
    "random": Random,
    "layerwise": Layerwise,
    "deep": Deep,
}


def read(listed: str, seed: int) -> tuple[Term, ...]:
    """Terms that are joined by "+".

    Args:
        listed: for one tower.
        seed: of those that draw something and do not say their own.

    Raises:
        ValueError: an unknown term or option, or adapters of two kinds.
    """
    terms = []
    for term in listed.split("+"):
        parts = names.parse(term)
        kind = names.pick(TERMS, parts.place, "a policy's terms", listed)
        found = kind(**names.options(kind, parts))
        drawn = hasattr(found, "seed") and "seed" not in parts.options
        terms.append(replace(found, seed=seed) if drawn else found)
    if sum(isinstance(term, Adapters) for term in terms) > 1:
        raise ValueError(f"expected adapters of one kind for a tower, got {listed!r} in a policy")
    return tuple(terms)


def moves(terms: Iterable[Term], tower: Tower) -> set[str]:
    """Names of the encoder's weights that may move by any of some terms.

    Adapters that are asked for are inserted where there are none.

    Raises:
        ValueError: a term names nothing in this tower, or the tower has other adapters.
    """
    names = set()
    for term in terms:
        if isinstance(term, Adapters):
            named = term.names(tower.adapt(term).encoder, tower.name)
        else:
            named = term.moves(tower)
        if not named and not isinstance(term, Locked):
            raise ValueError(
                f"expected weights of {term} in {tower.name}, got none; choose another"
            )
        names |= named
    return names


def _of_types(encoder: nn.Module, types: dict[type, Iterable[str]]) -> set[str]:
    """Names of the weights that modules of some types have under some names."""
    named = {name for name, _ in encoder.named_parameters(remove_duplicate=False)}
    return named & {
        f"{path}.{own}" if path else own
        for path, module in encoder.named_modules(remove_duplicate=False)
        for kind, owned in types.items()
        if isinstance(module, kind)
        for own in owned
    }


def _layers(tower: Tower) -> list[str]:
    """Names of the layers that the tower had before deep adapters, the first one first."""
    place = stack(tower.encoder, tower.name)
    added = tower.adapters.layers if isinstance(tower.adapters, Deep) else 0
    return [f"{place.path}.{n}" for n in range(len(place.layers) - added)]


def _within(names: set[str], paths: list[str]) -> set[str]:
    """Those names whose modules stand inside one of some others."""
    parts = {tuple(path.split(".")) for path in paths}
    size = len(next(iter(parts))) if parts else 0
    return {name for name in names if tuple(name.split(".")[:size]) in parts}
