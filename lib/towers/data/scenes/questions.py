"""Questions about scenes, each with its one answer, in English.

Every scene has one question of each form, where it can be asked without doubt:

=========  ======================================================  ===============
kind       question                                                answers
=========  ======================================================  ===============
yes/no     is there a red circle?                                  yes, no
yes/no     is a red circle above a blue star?                      yes, no
yes/no     is anything red?                                        yes, no
number     how many circles are there?                             0 to 4
number     how many red shapes (or shapes at all) are there?       0 to 4
other      what colour is the circle? what shape is red?           colours, shapes
other      what shape is largest? where is the largest shape?      shapes, places
=========  ======================================================  ===============

Yes and no are equally frequent. As captions do, the questions of the training split name nothing
that is held out.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

from towers.data.scenes import english
from towers.data.scenes.meanings import Group, missing
from towers.data.scenes.world import (
    COLOURS,
    HELD_RELATIONS,
    OPPOSITE,
    RELATIONS,
    SHAPES,
    Scene,
    Thing,
)

DICE = 9
"""Random 64-bit numbers that the questions of one scene take."""
KINDS = ("yes/no", "number", "other")
_RELATED = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


class Question(NamedTuple):
    """A question, its answer, and its kind: "yes/no", "number" or "other"."""

    text: str
    answer: str
    kind: str


def questions(scene: Scene, dice: Sequence[int], split: str) -> tuple[Question, ...]:
    """Five to seven questions about a scene.

    Args:
        scene: the scene.
        dice: `DICE` random 64-bit numbers.
        split: what it holds out is never asked about; see `meanings.missing`.
    """
    asked = (
        _existence(scene, dice[:4], split),
        _relation(scene, dice[4], split),
        _number_of_shape(scene, dice[5]),
        _number(scene, dice[6]),
        _colour_or_shape(scene, dice[7]),
        _largest(scene, dice[7] >> 32),
        _anything(scene, dice[8]),
    )
    return tuple(question for question in asked if question)


def _existence(scene: Scene, dice: Sequence[int], split: str) -> Question:
    colour, shape = missing(scene, dice, split)
    if dice[3] & 1:
        thing = scene.objects[(dice[3] >> 1) % len(scene.objects)]
        colour, shape = (thing.colour if colour else None), thing.shape
    answer = "yes" if dice[3] & 1 else "no"
    return Question(f"is there {_said(shape, colour)}?", answer, "yes/no")


def _relation(scene: Scene, die: int, split: str) -> Question | None:
    """Of two things that differ, in a relation that no like pair contradicts."""
    options = []
    for first, second in permutations(scene.objects, 2):
        for relation in RELATIONS:
            other = OPPOSITE[relation]
            if (
                first.combination != second.combination
                and first.is_(relation, second)
                and not _like_pair(scene, first, other, second)
                and (split == "relations" or not _held(first, relation, second))
            ):
                options.append((first, relation, second))
    if not options:
        return None
    first, relation, second = options[(die >> 1) % len(options)]
    asked, answer = (relation, "yes") if die & 1 else (OPPOSITE[relation], "no")
    subject, thing = (_said(one.shape, one.colour) for one in (first, second))
    return Question(f"is {subject} {_RELATED[asked]} {thing}?", answer, "yes/no")


def _like_pair(scene: Scene, first: Thing, relation: str, second: Thing) -> bool:
    """Whether things that look like these two stand in a relation."""
    return any(
        one.is_(relation, two)
        for one in scene.objects
        for two in scene.objects
        if one.combination == first.combination and two.combination == second.combination
    )


def _held(first: Thing, relation: str, second: Thing) -> bool:
    """Whether a relation of two shapes, or its opposite, is held out."""
    if relation in ("right", "below"):
        return _held(second, OPPOSITE[relation], first)
    return bool(
        {(first.shape, relation, second.shape), (second.shape, relation, first.shape)}
        & HELD_RELATIONS
    )


def _number_of_shape(scene: Scene, die: int) -> Question:
    among = [thing.shape for thing in scene.objects] if die % 4 else SHAPES
    shape = among[(die >> 2) % len(among)]
    plural = english.phrase(Group(2, shape), "no", 0)
    return Question(f"how many {plural} are there?", str(scene.number(shape)), "number")


def _number(scene: Scene, die: int) -> Question:
    if die % 3 == 0:
        return Question("how many shapes are there?", str(len(scene.objects)), "number")
    among = [thing.colour for thing in scene.objects] if die % 4 else COLOURS
    colour = among[(die >> 8) % len(among)]
    answer = str(scene.number(colour=colour))
    return Question(f"how many {colour} shapes are there?", answer, "number")


def _colour_or_shape(scene: Scene, die: int) -> Question | None:
    """Of a thing that is alone in its shape, or in its colour."""
    options = [
        Question(f"what colour is the {thing.shape}?", thing.colour, "other")
        for thing in scene.objects
        if scene.number(thing.shape) == 1
    ] + [
        Question(f"what shape is {thing.colour}?", thing.shape, "other")
        for thing in scene.objects
        if scene.number(colour=thing.colour) == 1
    ]
    return options[die % 2**32 % len(options)] if options else None


def _largest(scene: Scene, die: int) -> Question:
    if die & 1:
        return Question("what shape is largest?", scene.largest.shape, "other")
    return Question("where is the largest shape?", scene.largest.place, "other")


def _anything(scene: Scene, die: int) -> Question:
    there = sorted({thing.colour for thing in scene.objects}, key=COLOURS.index)
    lacking = [colour for colour in COLOURS if colour not in there]
    among, answer = (there, "yes") if die & 1 else (lacking, "no")
    return Question(f"is anything {among[(die >> 1) % len(among)]}?", answer, "yes/no")


def _said(shape: str, colour: str | None) -> str:
    return english.phrase(Group(1, shape, colour), "", 0)
