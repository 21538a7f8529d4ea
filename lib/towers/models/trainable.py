"""Policies: which weights of a pair are trained, said in one line; all others are locked.

    scratch                  towers from scratch, projections and scale: nothing is changed
    everything               all weights
    projections              projections and scale only
    nothing                  not even these
    TERMS                    in both towers, beside projections and scale
    image=TERMS,text=TERMS   in each tower its own

Terms are joined by "+" (see `terms`):

    locked                   nothing in this tower
    everything               the whole tower
    layer-norms              gains and biases of all its layer norms
    layer-norms?layers=4:    those in some layers only, as Python slices; the first layer is 0
    bitfit                   all its biases
    random?layers=3          all weights of some layers, drawn by `seed=`
    layerwise, deep          adapters, inserted where there are none; see `adapters` for options

So `image=locked,text=everything` is LiT, and LilT is `layerwise+layer-norms` or `deep+layer-norms`.

Source: Khan and Fu 2023, sections 2.2 and 2.3, Table 1, Fig. 5; Zhai et al. 2022 (LiT).
"""

from dataclasses import dataclass

import pandas as pd
from torch import nn

from towers.models import terms
from towers.models.duals import DualTower
from towers.models.terms import Everything, Locked, Term

SCRATCH = "scratch"
"""The policy that changes nothing."""


@dataclass(frozen=True)
class Policy:
    """Which weights of a pair are trained.

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
    """Read a policy; None for `scratch`.

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
        both = terms.read(policy, seed)
        return Policy(both, both)
    if [side.partition("=")[0] for side in sides] != ["image", "text"]:
        raise ValueError(
            f"expected {SCRATCH}, {', '.join(WHOLE)}, TERMS or image=TERMS,text=TERMS, got "
            f"{policy!r}"
        )
    return Policy(*(terms.read(side.partition("=")[2], seed) for side in sides))


def apply(dual: DualTower, policy: str, seed: int = 0) -> DualTower:
    """Lock a pair but for what a policy lets move; returns the pair.

    Args:
        dual: adapters are inserted into its towers if the policy asks for them. Those that it has
            stay, and go on from their weights where the policy asks for the same.
        policy: see the module's text for the grammar.
        seed: of what is drawn, see `read`.

    Raises:
        ValueError: another grammar; or a tower that has not what shall move, has other adapters,
            or shares its network with the other tower where the policy tells them apart. The pair
            is as it was.
    """
    wanted = read(policy, seed)
    if wanted is None:
        return dual
    _check_shared(dual, wanted, policy)
    for tower, names in zip((dual.image, dual.text), _moving(dual, wanted), strict=True):
        for name, weight in tower.encoder.named_parameters(remove_duplicate=False):
            weight.requires_grad_(name in names)
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


def _moving(dual: DualTower, wanted: Policy) -> list[set[str]]:
    """Names of what moves in the image tower and in the text tower, with their adapters."""
    sides = (dual.image, wanted.image), (dual.text, wanted.text)
    bare = [tower for tower, _ in sides if tower.adapters is None]
    try:
        return [terms.moves(listed, tower) for tower, listed in sides]
    except ValueError:
        for tower in bare:
            tower.plain()
        raise


def _check_shared(dual: DualTower, wanted: Policy, policy: str) -> None:
    whole = wanted.image == wanted.text and {*wanted.image} <= {Everything(), Locked()}
    if dual.text.borrows and not whole:
        raise ValueError(
            f"expected one of {SCRATCH}, {', '.join(WHOLE)} for towers that share a network, as "
            f"those of {dual.name} do, got {policy!r}"
        )
