"""Accuracy by kind of question, beside what needs no model."""

import numpy as np
import pytest

from towers.data.questions import Asked, Questions
from towers.evaluation import comparisons, vqa


def questions(*asked):
    return Questions("made up", [Asked(*each) for each in asked], lambda rows: [], "")


TRAIN = questions(
    (0, "?", "yes/no", ("no",)), (1, "?", "yes/no", ("no",)), (2, "?", "yes/no", ("yes",)),
    (3, "?", "other", ("red",)),
)  # fmt: skip
ASKED = questions(
    (0, "a?", "yes/no", ("yes",)), (0, "b?", "other", ("red",)), (1, "a?", "yes/no", ("no",)),
    (2, "b?", "other", ("blue",)),
)  # fmt: skip


def test_the_majority_answer_is_that_of_the_kind():
    assert vqa.majority(TRAIN, ASKED) == ["no", "red", "no", "red"]
    with pytest.raises(ValueError, match="kinds yes/no, other in made up, got number too"):
        vqa.majority(TRAIN, questions((0, "?", "number", ("2",))))


def test_the_majority_answer_may_be_that_of_the_very_question():
    train = questions(
        (0, "is it red?", "yes/no", ("yes",)), (1, "is it blue?", "yes/no", ("no",)),
        (2, "is it blue?", "yes/no", ("no",)),
    )  # fmt: skip
    assert vqa.majority(train, train[:2]) == ["no", "no"]
    assert vqa.majority(train, train[:2], by="text") == ["yes", "no"]
    with pytest.raises(
        ValueError, match=r"of the texts is it red\?, is it blue\? in made up, got a\?, b\? too"
    ):
        vqa.majority(train, ASKED, by="text")


def test_accuracy_by_kind():
    given = {vqa.MAJORITY: vqa.majority(TRAIN, ASKED), "model": ["yes", "red", "no", "red"]}
    found = vqa.evaluate(ASKED, given, data="here")
    rows = {(r.model, r.metric, r.at["kind"]): r for r in found}
    assert rows["model", "accuracy", "yes/no"].value == 1
    assert rows["model", "accuracy", "other"].value == 0.5
    assert rows["model", "accuracy", "overall"].value == 0.75
    assert rows[vqa.MAJORITY, "accuracy", "overall"].value == 0.5
    assert rows["model", "accuracy", "yes/no"].n == 2
    assert len(rows) == len(found) == 2 * 3


def test_hits_are_compared_question_by_question():
    ours, theirs = (
        vqa.hits(ASKED, answers)
        for answers in (["yes", "red", "no", "red"], vqa.majority(TRAIN, ASKED))
    )
    rows = comparisons.gains({0: ours}, {0: theirs}, model="model", over="base", data="here")
    gained = {row.at["kind"]: (row.metric, row.value, row.n) for row in rows}
    assert gained["yes/no"] == ("accuracy gain", 0.5, 2)
    assert gained[vqa.OVERALL] == ("accuracy gain", 0.25, 4)
    with pytest.raises(ValueError, match="4"):
        vqa.hits(ASKED, ["yes"])


def test_intervals_draw_whole_pictures():
    """One picture with many questions, all right or all wrong together, says little."""
    many = [(row // 20, f"{row}?", "other", ("red",)) for row in range(200)]
    lone = [(row, f"{row}?", "other", ("red",)) for row in range(200)]
    given = {"model": ["red" if row // 20 % 2 else "blue" for row in range(200)]}
    widths = [
        row.high - row.low
        for asked in (many, lone)
        for row in vqa.evaluate(questions(*asked), given, data="here")
        if row.at["kind"] == "other"
    ]
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(20), rel=0.25)
