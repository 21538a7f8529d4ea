"""What a caption says, before it is said in any language.

There are five families of captions. Each says something true, and most of the scene: the
description all of it but the places, the others a part that a bag of words does not carry.

- "description": every thing with its size, colour and shape: "a large red circle and two ..."
- "place": one or two things and the ninth of the picture where each lies
- "relation": one thing to the left of, to the right of, above or below one or two others
- "count": how many things, and how many of each shape
- "negation": one or two kinds of things that are there, and one that is not, though its colour or
  its shape may be

A number is exact: "two red circles" are all the red circles that the picture holds, in a
description all of that size, and "a red circle" in a negation is the only one. Places and
relations say that there is such a thing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from towers.data.scenes.world import (
    COLOURS,
    HELD_COMBINATIONS,
    RELATIONS,
    SHAPES,
    Scene,
    Thing,
)

FAMILIES = ("description", "place", "relation", "count", "negation")
DICE = 5
"""Random 64-bit numbers that the meanings of one scene take."""


class Group(NamedTuple):
    """So many things of a kind; None: of any shape ("things"), colour or size."""

    number: int
    shape: str | None = None
    colour: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Description:
    """Everything that is there."""

    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Placing:
    """Where some things are: each with its place, of `world.PLACES`."""

    placed: tuple[tuple[Group, str], ...]


@dataclass(frozen=True)
class Relating:
    """Where one thing is with regard to others: each with the relation of the first to it."""

    first: Group
    others: tuple[tuple[str, Group], ...]


@dataclass(frozen=True)
class Counting:
    """How many things there are, and how many of each shape."""

    total: Group
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Lacking:
    """Something that is there, and something that is not."""

    present: tuple[Group, ...]
    absent: Group


Meaning = Description | Placing | Relating | Counting | Lacking


def meanings(
    scene: Scene, dice: Sequence[int], split: str, families: Sequence[str] = FAMILIES
) -> dict[str, Meaning]:
    """What the captions of a scene say, by family.

    Args:
        scene: the scene.
        dice: `DICE` random 64-bit numbers, which choose among what is true.
        split: no caption of "train", "val" and "test" names a held-out combination, not even as
            absent; in "combinations" half of those that could do name one as absent.
        families: wanted, of `FAMILIES`. There is no relation in a scene of like things; if nothing
            else is wanted, its description stands in.
    """
    start = dice[0] % len(scene.objects)
    things = scene.objects[start:] + scene.objects[:start]
    found: dict[str, Meaning | None] = {}
    for family in families:
        if family == "description":
            found[family] = Description(_grouped([(t.shape, t.colour, t.size) for t in things]))
        elif family == "place":
            found[family] = Placing(tuple((_one(thing), thing.place) for thing in things[:2]))
        elif family == "relation":
            found[family] = _relation(things, dice[1])
        elif family == "count":
            groups = _grouped([(thing.shape,) for thing in things])
            found[family] = Counting(Group(len(things)), groups)
        else:
            present = _grouped([(thing.shape, thing.colour) for thing in things])[:2]
            colour, shape = missing(scene, dice[2:], split)
            found[family] = Lacking(present, Group(1, shape, colour))
    kept = {family: meaning for family, meaning in found.items() if meaning}
    return kept or meanings(scene, dice, split, ("description",))


def missing(scene: Scene, dice: Sequence[int], split: str) -> tuple[str | None, str]:
    """A colour and shape that a scene lacks; no colour: it lacks the shape altogether.

    Three times in four one of the two is there, on another thing.

    Args:
        scene: the scene.
        dice: three random numbers.
        split: as in `meanings`.
    """
    shapes = {thing.shape for thing in scene.objects}
    taken = {thing.combination for thing in scene.objects}
    thing = scene.objects[dice[0] % len(scene.objects)]
    kind = dice[1] % 8
    if kind < 2:
        return None, _first(SHAPES, dice[2], lambda shape: shape not in shapes)
    if kind < 5:
        pairs = [(thing.colour, shape) for shape in SHAPES]
    else:
        pairs = [(colour, thing.shape) for colour in COLOURS]
    options = [pair for pair in pairs if pair not in taken]
    held = [pair for pair in options if pair in HELD_COMBINATIONS]
    if split != "combinations":
        options = [pair for pair in options if pair not in held]
    elif held and dice[1] & 8:
        options = held
    return options[dice[2] % len(options)]


def _first(options: tuple[str, ...], die: int, fits: Callable[[str], bool]) -> str:
    """The first fitting option from a random one on."""
    start = die % len(options)
    return next(filter(fits, (*options[start:], *options[:start])))


def _one(thing: Thing) -> Group:
    return Group(1, thing.shape, thing.colour, thing.size)


def _grouped(kinds: Sequence[tuple]) -> tuple[Group, ...]:
    return tuple(Group(number, *kind) for kind, number in Counter(kinds).items())


def _relation(things: Sequence[Thing], die: int) -> Relating | None:
    """The first thing that differs from another one, related to one or two that differ."""
    for first in things:
        others: list[tuple[str, Group]] = []
        for number, other in enumerate(things):
            kinds = {first.combination, *((group.colour, group.shape) for _, group in others)}
            holding = [name for name in RELATIONS if first.is_(name, other)]
            if other.combination in kinds or not holding:
                continue
            relation = holding[(die >> number) % len(holding)]
            others.append((relation, Group(1, other.shape, other.colour)))
        if others:
            return Relating(Group(1, first.shape, first.colour), tuple(others[:2]))
    return None
