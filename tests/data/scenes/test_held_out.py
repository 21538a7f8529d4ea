"""What is held out never occurs in training: in no scene, no caption and no question."""

import re

import numpy as np
import pytest

from tests.data.scenes import checker
from towers.data.scenes import SPLITS, Scenes
from towers.data.scenes.world import (
    COLOURS,
    HELD_COMBINATIONS,
    HELD_COUNTS,
    HELD_RELATIONS,
    SHAPES,
)

HELD = ("combinations", "counts", "relations")
SEEN = ("train", "val", "test")
WORDS = {number: word for word, number in checker.NUMBERS.items() if number > 1}
NAMED = {  # shape -> every noun for it, of one and of several
    shape: "|".join(
        [*(noun for noun, meant in {**checker.NOUNS, **checker.PLURALS}.items() if meant == shape)]
    )
    for shape in SHAPES
}


def held(scene) -> set[str]:
    """Kinds of held-out things in a scene, found from its objects alone."""
    things = scene.objects
    kinds = set()
    if any((thing.colour, thing.shape) in HELD_COMBINATIONS for thing in things):
        kinds.add("combinations")
    for number, shape in HELD_COUNTS:
        for size in (None, "small", "large"):
            for colour in (None, *COLOURS):
                if len(checker.having(scene, size, colour, shape)) == number:
                    kinds.add("counts")
    for one in things:
        for other in things:
            for relation in ("left", "above"):
                said = (one.shape, relation, other.shape)
                if said in HELD_RELATIONS and checker.related(one, relation, other):
                    kinds.add("relations")
    return kinds


def held_out(scene) -> dict[str, set[tuple]]:
    """What of a scene training never shows, by the split that tests it."""
    things = scene.objects
    return {
        "combinations": {thing.combination for thing in things} & HELD_COMBINATIONS,
        "counts": HELD_COUNTS & {
            (scene.number(thing.shape, colour, size), thing.shape)
            for thing in things
            for colour in (None, thing.colour)
            for size in (None, thing.size)
        },
        "relations": HELD_RELATIONS & {
            (first.shape, relation, second.shape)
            for first in things
            for second in things
            for relation in ("left", "above")
            if first.is_(relation, second)
        },
    }  # fmt: skip


def forbidden() -> re.Pattern:
    """Held-out combinations and counts as any English sentence would put them."""
    named = {colour: {colour} for colour in COLOURS} | {"purple": {"purple", "violet"}}
    combinations = [
        f"(?:{'|'.join(named[colour])}) (?:{NAMED[shape]})" for colour, shape in HELD_COMBINATIONS
    ]
    adjectives = "|".join([*checker.COLOURS, *checker.SIZES])
    counts = [
        f"{WORDS[number]} (?:(?:{adjectives}) )*(?:{NAMED[shape]})" for number, shape in HELD_COUNTS
    ]
    return re.compile(rf"\b(?:{'|'.join(combinations + counts)})\b")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [0, 7])
def test_each_split_holds_what_it_is_for_and_nothing_else(split, seed):
    scenes = Scenes(400, split=split, seed=seed).facts(np.arange(400)).scenes()
    expected = {split} & {*HELD}
    assert all(held(scene) == expected for scene in scenes)
    assert all({n for n, found in held_out(s).items() if found} == expected for s in scenes)


def test_twenty_thousand_training_scenes_hold_nothing_of_it():
    facts = Scenes(20_000).facts(np.arange(20_000))
    assert not any(kinds for scene in facts.scenes() for kinds in held_out(scene).values())
    present = facts.present
    seen = set(zip(facts.colour[present].tolist(), facts.shape[present].tolist(), strict=True))
    assert len(seen) == len(COLOURS) * len(SHAPES) - len(HELD_COMBINATIONS)


def test_every_held_out_thing_is_tested():
    for split, everything in zip(
        HELD, (HELD_COMBINATIONS, HELD_COUNTS, HELD_RELATIONS), strict=True
    ):
        scenes = Scenes(2000, split=split).facts(np.arange(2000)).scenes()
        assert set().union(*(held_out(scene)[split] for scene in scenes)) == everything


@pytest.mark.parametrize("split", SEEN)
def test_captions_of_training_never_name_it(split):
    pattern = forbidden()
    captions = Scenes(1000, split=split, seed=3).collection().captions()
    assert [text for texts in captions for text in texts if pattern.search(text)] == []


def test_questions_of_training_never_name_it():
    pattern, scenes = forbidden(), Scenes(300, seed=4)
    relation = re.compile(
        r"is an? (?:\w+ )?(\w+) (left|right|above|below) (?:of )?an? (?:\w+ )?(\w+)\?"
    )
    opposite = {"right": "left", "below": "above"}
    for row in range(300):
        for question in scenes.questions(row):
            assert not pattern.search(question.text)
            if found := relation.match(question.text):
                first, said, second = found.groups()
                if said in opposite:
                    first, said, second = second, opposite[said], first
                assert (first, said, second) not in HELD_RELATIONS


def test_the_pattern_of_what_is_forbidden_finds_it():
    pattern = forbidden()
    colour, shape = sorted(HELD_COMBINATIONS)[0]
    number, counted = sorted(HELD_COUNTS)[0]
    assert pattern.search(f"a big {colour} {shape} and a red ring")
    assert pattern.search(f"{WORDS[number]} small green {counted}s")
    assert not pattern.search(f"a {colour} thing and a {shape}")
    captions = Scenes(300, split="combinations").collection().captions()
    assert sum(bool(pattern.search(text)) for texts in captions for text in texts) > 200


def test_absent_things_are_held_out_ones_only_where_these_are_tested():
    """Else a model could tell what is absent by its being new."""
    absent = {"combinations": 0, "test": 0}
    for split in absent:
        for texts in Scenes(800, split=split).collection().captions():
            said = re.split(" no | any ", texts[-1])[-1]
            absent[split] += bool(forbidden().search(f"a {said}"))
    assert absent["test"] == 0
    assert absent["combinations"] > 80


def test_counts_of_things_are_the_same_in_all_splits_that_may_have_them():
    """Redrawing what is held out leaves the share of one to four things as it is."""
    for split in ("train", "test", "combinations"):
        count = Scenes(8000, split=split).facts(np.arange(8000)).count
        shares = np.bincount(count, minlength=5)[1:] / 8000
        np.testing.assert_allclose(shares, [0.15, 0.3, 0.3, 0.25], atol=0.021)  # 4 errors
