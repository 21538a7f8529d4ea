"""Whatever is said of a scene is true, and whatever is asked has the answer that is given."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.scenes import checker
from towers.data.scenes import FAMILIES, SPLITS, Scenes, questions
from towers.data.scenes.languages import LANGUAGES
from towers.data.scenes.world import Scene, Thing

ROWS = 16
SETS = st.builds(
    Scenes,
    count=st.just(ROWS),
    split=st.sampled_from(SPLITS),
    seed=st.integers(0, 2**63),
    objects=st.sampled_from((None, None, 2, 3, 4)),
)


def shown(scenes: Scenes) -> list[Scene]:
    return scenes.facts(np.arange(len(scenes))).scenes()


@given(scenes=SETS)
@settings(max_examples=40)
def test_english_captions_are_true_one_of_each_family_and_all_different(scenes):
    for scene, captions in zip(shown(scenes), scenes.collection().captions("en"), strict=True):
        assert [text for text in captions if not checker.holds(text, scene)] == []
        kinds = {thing.combination for thing in scene.objects}
        expected = [name for name in FAMILIES if name != "relation" or len(kinds) > 1]
        assert [checker.family(text) for text in captions] == expected
        assert len(set(captions)) == len(captions)


@given(scenes=SETS, row=st.integers(0, ROWS - 1))
@settings(max_examples=100)
def test_questions_have_the_answers_that_are_given(scenes, row):
    scene, asked = scenes.scene(row), scenes.questions(row)
    assert {q.text: q.answer for q in asked} == {
        q.text: checker.answer(q.text, scene) for q in asked
    }
    assert {q.kind for q in asked} == {"yes/no", "number", "other"}
    assert len({q.text for q in asked}) == len(asked) >= 5


def test_every_language_has_the_same_families_all_different():
    scenes = Scenes(300, languages=tuple(LANGUAGES))
    for item in scenes.collection():
        assert len(item.captions) == 7
        for texts in item.captions.values():
            assert len(set(texts)) == len(texts) == len(item.captions["en"])


def test_the_checker_finds_captions_of_other_scenes_false():
    scenes = Scenes(400)
    worlds = shown(scenes)
    wrong = Counter()
    for row, captions in enumerate(scenes.collection().captions()):
        for text in captions:
            wrong[checker.family(text)] += checker.holds(text, worlds[row - 1])
    assert wrong["description"] == 0
    assert wrong["relation"] < 4
    assert wrong["place"] < 8
    assert wrong["count"] < 40
    assert wrong["negation"] < 60


@pytest.mark.parametrize(
    ("caption", "true"),
    [
        ("a large red circle and two small blue stars", True),
        ("a large red circle and a small blue star", False),
        ("two small blue stars", False),
        ("a picture of a large red circle, a small blue star and a small blue star", None),
        ("a small red circle and two small blue stars", False),
        ("a large red circle in the middle and a little blue star at the top left", True),
        ("a large red circle at the top", False),
        ("a blue star is left of a red circle", True),
        ("a red circle left of a blue star and below a blue star", True),
        ("a red circle above a blue star", False),
        ("three shapes: a disc and two stars", True),
        ("exactly two shapes: a disc and a star", False),
        ("two blue stars but no red star", True),
        ("a blue star but no red star", False),
        ("a red circle without any stars", False),
        ("a orange star", None),
    ],
)
def test_the_checker_judges_as_people_do(caption, true):
    scene = Scene(
        (
            Thing("star", "blue", "small", 0.25, 0.25, 0.09, 0.0),
            Thing("circle", "red", "large", 0.5, 0.5, 0.18, 0.0),
            Thing("star", "blue", "small", 0.75, 0.3, 0.09, 0.0),
        )
    )
    if true is None:
        with pytest.raises(AssertionError):
            checker.holds(caption, scene)
    else:
        assert checker.holds(caption, scene) is true


def test_answers_are_balanced_and_cannot_be_guessed_from_the_kind():
    scenes = Scenes(400)
    answers = {kind: Counter() for kind in ("yes/no", "number", "other")}
    for row in range(400):
        for question in scenes.questions(row):
            answers[question.kind][question.answer] += 1
    yes = answers["yes/no"]["yes"] / answers["yes/no"].total()
    assert abs(yes - 0.5) < 0.075  # four standard errors of some 750 coins
    assert max(answers["number"].values()) / answers["number"].total() < 0.5
    assert set(answers["number"]) == set("01234")
    assert len(answers["other"]) == 12 + 8 + 9


def test_no_relation_is_asked_about_that_looks_both_ways():
    """A circle on either side of a star is left of it and is not: only "above" can be asked."""
    around = Scene(
        (
            Thing("circle", "red", "small", 0.25, 0.25, 0.09, 0.0),
            Thing("star", "blue", "large", 0.5, 0.7, 0.18, 0.0),
            Thing("circle", "red", "small", 0.75, 0.25, 0.09, 0.0),
        )
    )
    asked = {questions.questions(around, [die] * questions.DICE, "train")[1] for die in range(50)}
    assert {(question.text, question.answer) for question in asked} == {
        ("is a red circle above a blue star?", "yes"),
        ("is a red circle below a blue star?", "no"),
        ("is a blue star below a red circle?", "yes"),
        ("is a blue star above a red circle?", "no"),
    }


def test_the_largest_is_plainly_the_largest():
    for scene in shown(Scenes(500)):
        first, *others = sorted((thing.radius for thing in scene.objects), reverse=True)
        assert scene.largest.radius == first
        assert all(first >= 1.25 * radius for radius in others)
        assert {t.size for t in scene.objects if t.radius > 0.13} <= {"large"}
        assert {t.size for t in scene.objects if t.radius < 0.13} <= {"small"}


def test_two_pictures_of_a_batch_rarely_share_a_caption():
    """In batches of 256: the share of captions that another picture of the batch has, too."""
    shared = Counter()
    captions = Scenes(2048).collection().captions()
    for start in range(0, 2048, 256):
        count = Counter(text for texts in captions[start : start + 256] for text in texts)
        for text, number in count.items():
            shared[checker.family(text)] += number / 2048 if number > 1 else 0
    assert shared["description"] < 0.01
    assert shared["place"] < 0.01
    assert shared["relation"] < 0.01
    assert shared["negation"] < 0.02
    assert shared["count"] < 0.3


def test_a_description_is_rarely_true_of_another_picture():
    scenes = shown(Scenes(512))
    kinds = Counter(
        tuple(sorted((t.size, t.colour, t.shape) for t in scene.objects)) for scene in scenes
    )
    alone = sum(number for number in kinds.values() if number == 1) / 512
    assert alone > 0.93
    single = [scene for scene in scenes if len(scene.objects) == 1]
    assert 0.1 < len(single) / 512 < 0.2


def test_words_vary_within_a_language():
    texts = [text for captions in Scenes(300).collection().captions() for text in captions]
    for words in ("big|large", "disc|circle", "violet|purple", "higher than|above", "little|small"):
        shares = [sum(bool(re.search(word, t)) for t in texts) for word in words.split("|")]
        assert min(shares) > 10, words
