"""Questions over pictures, answered: accuracy by kind, beside answers that need no model.

Source: Tschannen et al. 2023, sections 4.2 and 4.3 (VQA), Fig. 2, Table 7.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from towers import metrics
from towers.data.questions import Questions
from towers.metrics.vqa import vqa_accuracies
from towers.records import Measurement

MAJORITY = "majority answer"
OVERALL = "overall"


def majority(train: Questions, asked: Questions, by: Literal["kind", "text"] = "kind") -> list[str]:
    """For each question the most frequent answer of its like in training.

    Args:
        train: with their answers.
        asked: to answer.
        by: what makes questions alike: their kind, or all of their text, which is the best that
            can be done without a look at the picture.

    Raises:
        ValueError: a kind, or a text, that training does not have.
    """
    counts: dict[str, Counter] = {}
    for each in train:
        counts.setdefault(getattr(each, by), Counter())[each.answer] += 1
    if unknown := {getattr(each, by) for each in asked} - counts.keys():
        raise ValueError(
            f"expected questions of the {by}s {', '.join(counts)} in {asked.name}, got "
            f"{', '.join(sorted(unknown))} too"
        )
    best = {like: answers.most_common(1)[0][0] for like, answers in counts.items()}
    return [best[getattr(each, by)] for each in asked]


def evaluate(
    questions: Questions, given: Mapping[str, Sequence[str]], *, data: str, seed: int = 0
) -> list[Measurement]:
    """VQA accuracy of several models on the same questions.

    Args:
        questions: with their answers.
        given: model -> its answers, one a question.
        data: name for records.
        seed: of the runs that the answers come from, and of the bootstrap.

    Returns:
        For each model and `kind`, and "overall": "accuracy" with its interval, a 95 % bootstrap
        that draws pictures (groups of near duplicates), with all their questions.

    Raises:
        ValueError: a model with another number of answers.
    """
    rows = []
    for model, answers in given.items():
        for kind, part in hits(questions, answers).groupby("kind", sort=False):
            low, high = metrics.intervals.proportion(part.hit, groups=part.group, seed=seed)
            rows.append(
                Measurement(model=model, data=data, metric="accuracy", value=float(part.hit.mean()),
                            low=low, high=high, n=len(part), seed=seed, at={"kind": kind})
            )  # fmt: skip
    return rows


def hits(questions: Questions, answers: Sequence[str]) -> pd.DataFrame:
    """What `evaluate` averages, question by question: for comparisons on the same questions.

    Args:
        questions: with their answers.
        answers: of a model, one a question.

    Returns:
        One row a question, under its `kind` and again under "overall": `metric` ("accuracy"),
        `group` of near duplicates that its picture belongs to, and `hit`, in [0, 1].

    Raises:
        ValueError: another number of answers.
    """
    scores = vqa_accuracies(answers, [each.answers for each in questions])
    rows = pd.DataFrame({
        "metric": "accuracy", "kind": [each.kind for each in questions],
        "group": questions.clusters, "hit": scores,
    })  # fmt: skip
    return pd.concat([rows, rows.assign(kind=OVERALL)], ignore_index=True)
