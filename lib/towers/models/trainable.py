"""What moves in a pair that is trained, said in one line; everything else is locked.

    scratch                  towers from scratch, projections and scale: nothing is changed
    everything               all weights
    projections              projections and scale only
    nothing                  not even these
    TERMS                    in both towers, beside projections and scale
    image=TERMS,text=TERMS   in each tower its own

Terms are joined by "+":

    locked                   nothing in this tower
    everything               the whole tower
    layer-norms              gains and biases of all its layer norms
    layer-norms?layers=4:    those in some layers only, as Python slices; the first layer is 0
    bitfit                   all its biases
    random?layers=3          all weights of some layers, drawn by `seed=`
    layerwise, deep          adapters, inserted where there are none; see `adapters` for options

So `image=locked,text=everything` is LiT, and LilT is `layerwise+layer-norms` or `deep+layer-norms`.
Weights are chosen by the type of the module that they belong to, and by their place in the stack
of layers; never by what a name contains.

Source: Khan and Fu 2023, sections 2.2 and 2.3, Table 1, Fig. 5; Zhai et al. 2022 (LiT); Ben Zaken
et al. 2022 (BitFit).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from towers.models import options
from towers.models.adapters import Adapters, Deep, Layerwise
from towers.models.duals import DualTower
from towers.models.encoders import Tower
from towers.models.stacks import stack

SCRATCH = "scratch"
"""The policy that changes nothing."""
BIASES = {
    nn.Linear: "bias",
    _ConvNd: "bias",
    nn.LayerNorm: "bias",
    nn.GroupNorm: "bias",
    _NormBase: "bias",
    nn.MultiheadAttention: "in_proj_bias",
}
"""What the additive bias of a module is called, by the module's type."""


@dataclass(frozen=True)
class Locked:
    """`locked`."""

    limits: ClassVar = {}

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move: none."""
        return set()


@dataclass(frozen=True)
class Everything:
    """`everything`."""

    limits: ClassVar = {}

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move: all."""
        return {name for name, _ in tower.encoder.named_parameters(remove_duplicate=False)}


@dataclass(frozen=True)
class LayerNorms:
    """`layer-norms`; the options as the module's text has them."""

    layers: str = ":"

    limits: ClassVar = {}

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{0,3}:\d{0,3}", self.layers):
            raise ValueError(f"expected layers as a slice such as 4: or 0:6, got {self.layers!r}")

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move.

        A slice leaves out norms that stand outside of the layers.
        """
        names = _of_types(tower.encoder, {nn.LayerNorm: ("weight", "bias")})
        if self.layers != ":":
            first, last = (int(end) if end else None for end in self.layers.split(":"))
            names = _within(names, _layers(tower)[first:last])
        return names


@dataclass(frozen=True)
class BitFit:
    """`bitfit`."""

    limits: ClassVar = {}

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move."""
        return _of_types(tower.encoder, {kind: (name,) for kind, name in BIASES.items()})


@dataclass(frozen=True)
class Random:
    """`random`; the options as the module's text has them."""

    layers: int
    seed: int = 0

    limits: ClassVar = {}

    def moves(self, tower: Tower) -> set[str]:
        """Names of the encoder's weights that may move; the same ones on every rank."""
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


@dataclass(frozen=True)
class Policy:
    """What moves.

    Attributes:
        image: in the image tower, all of it together.
        text: in the text tower.
        head: whether projections and scale do.
    """

    image: tuple[Term, ...]
    text: tuple[Term, ...]
    head: bool = True


WHOLE = {
    "everything": Policy((Everything(),), (Everything(),)),
    "projections": Policy((Locked(),), (Locked(),)),
    "nothing": Policy((Locked(),), (Locked(),), head=False),
}
"""Policies that are one word for the whole pair."""


def read(policy: str, seed: int = 0) -> Policy | None:
    """What a line says; None for `scratch`.

    Args:
        policy: see the module's text for the grammar.
        seed: of terms that draw something and do not say their own.

    Raises:
        ValueError: an unknown term or option, or another form.
    """
    if policy == SCRATCH:
        return None
    if policy in WHOLE:
        return WHOLE[policy]
    sides = policy.split(",")
    if len(sides) == 1 and not policy.startswith(("image=", "text=")):
        terms = _terms(policy, seed)
        return Policy(terms, terms)
    if len(sides) != 2 or [side.partition("=")[0] for side in sides] != ["image", "text"]:
        raise ValueError(
            f"expected {SCRATCH}, {', '.join(WHOLE)}, TERMS or image=TERMS,text=TERMS, got "
            f"{policy!r}"
        )
    return Policy(*(_terms(side.partition("=")[2], seed) for side in sides))


def apply(dual: DualTower, policy: str, seed: int = 0) -> DualTower:
    """Lock a pair but for what a policy lets move; returns the pair.

    Args:
        dual: adapters are inserted into its towers if the policy asks for them. Those that it has
            stay, and go on from their weights where the policy asks for the same.
        policy: see the module's text for the grammar.
        seed: of what is drawn, see `read`.

    Raises:
        ValueError: another grammar; or a tower that has not what shall move, has other adapters,
            or shares its network with the other tower where the policy tells them apart.
    """
    wanted = read(policy, seed)
    if wanted is None:
        return dual
    _check_shared(dual, wanted, policy)
    for tower, terms in ((dual.image, wanted.image), (dual.text, wanted.text)):
        moves = set().union(*(_moves(term, tower) for term in terms))
        for name, weight in tower.encoder.named_parameters(remove_duplicate=False):
            weight.requires_grad_(name in moves)
        tower.train(tower.training)
    for part in (dual.image_proj, dual.text_proj, dual.log_scale):
        part.requires_grad_(wanted.head)
    return dual


def report(dual: DualTower) -> pd.DataFrame:
    """What moves in a pair and what is locked, one row a part, the whole pair last.

    Columns: `part`; `tensors` and `parameters`, all of them, each counted once; `trainable tensors`
    and `trainable`, those that an update moves; `share`, of the part's parameters, in [0, 1].
    """
    seen: set[int] = set()
    rows = []
    head = [*dual.image_proj.parameters(), *dual.text_proj.parameters(), dual.log_scale]
    for part, weights in (
        ("image tower", dual.image.parameters()),
        ("text tower", dual.text.parameters()),
        ("projections and scale", head),
        ("pair", dual.parameters()),
    ):
        mine = [w for w in dict.fromkeys(weights) if part == "pair" or id(w) not in seen]
        seen |= {id(weight) for weight in mine}
        rows.append({"part": part} | _counted(mine))
    return pd.DataFrame(rows)


def _counted(weights: list[nn.Parameter]) -> dict[str, float]:
    moving = [weight for weight in weights if weight.requires_grad]
    numbers, trainable = (sum(weight.numel() for weight in each) for each in (weights, moving))
    return {
        "tensors": len(weights), "trainable tensors": len(moving), "parameters": numbers,
        "trainable": trainable, "share": trainable / max(numbers, 1),
    }  # fmt: skip


def _terms(listed: str, seed: int) -> tuple[Term, ...]:
    """The terms of one tower."""
    terms = []
    for term in listed.split("+"):
        kind, _, given = term.partition("?")
        if kind not in TERMS:
            raise ValueError(f"expected terms of {', '.join(TERMS)}, got {term!r} in a policy")
        found = options.read(TERMS[kind], given, term)
        drawn = hasattr(found, "seed") and "seed=" not in given
        terms.append(replace(found, seed=seed) if drawn else found)
    if sum(isinstance(term, Adapters) for term in terms) > 1:
        raise ValueError(f"expected adapters of one kind for a tower, got {listed!r} in a policy")
    return tuple(terms)


def _moves(term: Term, tower: Tower) -> set[str]:
    """The weights that a term names, which must be there."""
    if isinstance(term, Adapters):
        return term.names(tower.adapt(term).encoder, tower.name)
    names = term.moves(tower)
    if not names and not isinstance(term, Locked):
        raise ValueError(f"expected weights of {term} in {tower.name}, got none; choose another")
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


def _check_shared(dual: DualTower, wanted: Policy, policy: str) -> None:
    whole = wanted.image == wanted.text and {*wanted.image} <= {Everything(), Locked()}
    if dual.text.borrows and not whole:
        raise ValueError(
            f"expected one of {SCRATCH}, {', '.join(WHOLE)} for towers that share a network, as "
            f"those of {dual.name} do, got {policy!r}"
        )
