"""How right an answer to a question is, where ten people answered it too."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

ANNOTATORS = 10
ENOUGH = 3
"""People who must agree with an answer that counts in full."""
_NUMBERS = dict(zip(
    ("none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    map(str, (0, *range(11))), strict=True,
))  # fmt: skip
_ARTICLES = {"a", "an", "the"}


def vqa_accuracy(given: str, answers: Sequence[str]) -> float:
    """VQAv2's accuracy of one answer: how many of the annotators, short of one, agree with it.

    Each annotator is left out in turn; min(agreeing among the other nine / 3, 1) is averaged over
    the ten. A single answer, which has no doubt, is met or not.

    Args:
        given: the answer, compared as it stands; `normalised` comes first where people typed.
        answers: of ten annotators, or one.

    Returns:
        A value from 0 to 1; with ten, 0.3, 0.6, 0.9 and 1 for one, two, three and four or more.

    Raises:
        ValueError: neither ten answers nor one.

    Source: Goyal et al. 2017; visualqa.org/evaluation.
    """
    if len(answers) not in (1, ANNOTATORS):
        raise ValueError(f"expected {ANNOTATORS} answers, or a single one, got {len(answers)}")
    agree = sum(answer == given for answer in answers)
    if len(answers) == 1:
        return float(agree)
    of_agreeing, of_others = min((agree - 1) / ENOUGH, 1), min(agree / ENOUGH, 1)
    return (agree * of_agreeing + (ANNOTATORS - agree) * of_others) / ANNOTATORS


def vqa_accuracies(
    given: Sequence[str], answers: Sequence[Sequence[str]]
) -> Float[np.ndarray, " questions"]:
    """The accuracy of each answer, all of them `normalised` first.

    Args:
        given: one answer a question.
        answers: for each question those of its annotators.

    Raises:
        ValueError: lengths differ, or as `vqa_accuracy`.
    """
    if len(given) != len(answers):
        raise ValueError(
            f"expected an answer to each of {len(answers)} questions, got {len(given)}"
        )
    return np.array([
        vqa_accuracy(normalised(answer), [normalised(other) for other in of_people])
        for answer, of_people in zip(given, answers, strict=True)
    ])  # fmt: skip


def normalised(answer: str) -> str:
    """An answer without what does not change its meaning.

    In lower case, without articles (unless nothing else is there) and most punctuation, numbers up
    to ten in digits, one space between words. The official evaluation also puts apostrophes into
    contractions that lack one ("dont"), by a table; here an apostrophe is left away everywhere, to
    the same effect.
    """
    text = re.sub(r"(?<=\d),(?=\d)|['’]", "", answer.lower())
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)
    words = re.sub(r"[^\w.:$%&]+", " ", text).split()
    said = [_NUMBERS.get(word, word) for word in words if word not in _ARTICLES]
    return " ".join(said or words)
