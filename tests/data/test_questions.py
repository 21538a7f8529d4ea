"""Questions over pictures: of scenes, of classes, and their parts."""

import numpy as np
import pytest
from PIL import Image

from towers.data.errors import DataError
from towers.data.items import Collection, Item
from towers.data.questions import Asked, Questions, of_classes, of_scenes
from towers.data.reports import Report
from towers.data.scenes import Scenes

NOUNS = {"animals": "an animal", "food": "food", "plants": "a plant"}


def collection(labels, groups=None) -> Collection:
    items = tuple(
        Item(f"{row:04}", f"item {row}", lambda row=row: Image.new("RGB", (8, 8), (row, 0, 0)),
             {"en": ("said",)}, {"class": label}, group=groups and groups[row])
        for row, label in enumerate(labels)
    )  # fmt: skip
    return Collection("made up", items, Report(len(items)))


def test_scenes_questions_with_their_pictures():
    scenes = Scenes(20, size=32, objects=1)
    questions = of_scenes(scenes)
    first = scenes.questions(0)
    assert [(q.text, q.answer, q.kind) for q in questions[: len(first)]] == [
        tuple(q) for q in first
    ]
    assert {q.picture for q in questions} == set(range(20))
    pictures, texts = questions.seen([len(questions) - 1, 0])
    assert texts == [questions[-1].text, first[0].text]
    np.testing.assert_array_equal(np.stack(pictures), scenes.pixels([19, 0]))


def test_only_questions_that_fit_a_pattern():
    questions = of_scenes(Scenes(30, size=32), ("is anything *", "how many * shapes are there?"))
    assert questions.kinds == ("number", "yes/no")
    assert all(q.text.startswith("is anything") for q in questions if q.kind == "yes/no")
    assert not any(q.text == "how many shapes are there?" for q in questions)
    with pytest.raises(DataError, match="got 0 questions"):
        of_scenes(Scenes(3, size=32), ("why*",))


def test_what_is_hidden_is_not_seen_and_changes_the_digest():
    questions = of_scenes(Scenes(3, size=32))
    blind, mute = questions.without("picture"), questions.without("question")
    assert set(mute.seen(range(3))[1]) == {""}
    assert blind.seen(range(3))[1] == questions.seen(range(3))[1]
    assert {tuple(image.getextrema()) for image in blind.seen(range(3))[0]} == {((255, 255),) * 3}
    assert len({each.digest for each in (questions, blind, mute, questions[:2])}) == 4
    with pytest.raises(DataError, match="hidden among question, picture"):
        questions.without("all")


def test_classes_become_questions_and_yes_is_as_frequent_as_no():
    data = collection(["animals", "food", "plants", "other"] * 300)
    questions = of_classes(data, NOUNS)
    assert len(questions) == 2 * 900
    yes = 0
    for what, is_it in zip(questions[::2], questions[1::2], strict=True):
        label = data[what.picture].targets["class"]
        assert what.picture == is_it.picture
        assert what.answer == NOUNS[label]
        assert (is_it.text == f"is this {NOUNS[label]}?") == (is_it.answer == "yes")
        yes += is_it.answer == "yes"
    assert abs(yes - 450) < 60  # four standard errors
    assert of_classes(data, NOUNS).digest == questions.digest
    assert of_classes(data, NOUNS, seed=1).digest != questions.digest
    np.testing.assert_array_equal(questions.seen([2])[0][0], np.asarray(data.image(1)))


def test_parts_share_no_group_of_pictures():
    data = collection(["animals", "food"] * 50, groups=[f"g{row // 4}" for row in range(100)])
    learnt, held = of_classes(data, NOUNS).parted(0.3, seed=1)
    assert not set(learnt.clusters) & set(held.clusters)
    assert len(learnt) + len(held) == 200
    assert 0.1 < len(held) / 200 < 0.55
    with pytest.raises(DataError, match="parts 'made up' in two, got 0"):
        of_classes(data, NOUNS).parted(0.0)


def test_the_most_frequent_answer_stands_for_all():
    assert Asked(0, "?", "other", ("red", "blue", "blue")).answer == "blue"
    assert Asked(0, "?", "other", ("red", "blue")).answer == "red"


def test_bad_sets_are_refused_in_one_line():
    with pytest.raises(DataError, match="at least two of the labels animals, food, plants"):
        of_classes(collection(["animals", "other"]), NOUNS)
    with pytest.raises(DataError, match="got 0 questions"):
        Questions("empty", (), lambda rows: [], "")
