"""VQAv2's accuracy against leaving each annotator out by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.metrics.vqa import normalised, vqa_accuracies, vqa_accuracy

WORDS = st.sampled_from(["red", "blue", "2"])


def left_out_one_by_one(answer: str, answers: list[str]) -> Fraction:
    """The definition, literally."""
    total = Fraction(0)
    for left_out in range(len(answers)):
        others = answers[:left_out] + answers[left_out + 1 :]
        total += min(Fraction(sum(other == answer for other in others), 3), Fraction(1))
    return total / len(answers)


@given(WORDS, st.lists(WORDS, min_size=10, max_size=10))
def test_accuracy_is_the_mean_over_ten_subsets_of_nine(answer, answers):
    expected = left_out_one_by_one(answer, answers)
    assert vqa_accuracy(answer, answers) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(("agreeing", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1)])
def test_four_who_agree_are_enough(agreeing, expected):
    answers = ["yes"] * agreeing + ["no"] * (10 - agreeing)
    assert vqa_accuracy("yes", answers) == pytest.approx(expected, abs=1e-12)


def test_an_answer_without_doubt_is_met_or_not():
    assert (vqa_accuracy("yes", ["yes"]), vqa_accuracy("no", ["yes"])) == (1, 0)
    with pytest.raises(ValueError, match="10 answers, or a single one, got 3"):
        vqa_accuracy("yes", ["yes"] * 3)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("A Dog.", "dog"), ("the  two dogs", "2 dogs"), ("1,000", "1000"), ("2.5", "2.5"),
        ("don't", "dont"), ("None", "0"), ("black/white", "black white"), ("10:30", "10:30"),
        ("A", "a"),
    ],
)  # fmt: skip
def test_what_does_not_change_the_meaning_is_left_away(typed, meant):
    assert normalised(typed) == meant == normalised(meant)


def test_answers_are_compared_by_what_they_mean():
    found = vqa_accuracies(["Two", "a cat"], [["2"], ["dog"]])
    assert found.tolist() == [1, 0]
    with pytest.raises(ValueError, match="each of 1 questions, got 2"):
        vqa_accuracies(["yes", "no"], [["yes"]])
