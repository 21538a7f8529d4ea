"""Questions over pictures, answered: accuracy by kind, beside answers that need no model.

Source: Tschannen et al. 2023, sections 4.2 and 4.3 (VQA), Fig. 2, Table 7.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool

from towers import metrics
from towers.data.questions import Questions
from towers.evaluation import comparisons
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
    questions: Questions,
    given: Mapping[str, Sequence[str]],
    *,
    data: str,
    baselines: Sequence[str] = (MAJORITY,),
    seed: int = 0,
) -> list[Measurement]:
    """VQA accuracy of several models on the same questions.

    Args:
        questions: with their answers.
        given: model -> its answers, one a question; the baselines among them.
        data: name for records.
        baselines: models that the others are compared with.
        seed: of the runs that the answers come from, and of the bootstrap.

    Returns:
        For each model and `kind`, and "overall": "accuracy" with its interval, and for each
        baseline "accuracy gain" at `over` it, paired question by question. Intervals are 95 %
        bootstraps that draw pictures (groups of near duplicates), with all their questions.

    Raises:
        ValueError: a model with another number of answers, or no such baseline.
    """
    if missing := set(baselines) - given.keys():
        raise ValueError(f"expected answers of {', '.join(sorted(missing))}, got none")
    answers = [each.answers for each in questions]
    scores = {model: vqa_accuracies(own, answers) for model, own in given.items()}
    rows = []
    for kind, mine in _parts(questions).items():
        drawn = {"groups": questions.clusters[mine], "seed": seed}
        shared = {"data": data, "metric": "accuracy", "at": {"kind": kind}}
        for model, own in scores.items():
            low, high = metrics.intervals.proportion(own[mine], **drawn)
            rows.append(
                Measurement(model=model, value=float(own[mine].mean()), low=low, high=high,
                            n=int(mine.sum()), seed=seed, **shared)
            )  # fmt: skip
            rows += [
                comparisons.gain(
                    own[mine], scores[name][mine], model=model, over=name, **shared, **drawn
                )
                for name in baselines
                if name != model
            ]
    return rows


def _parts(questions: Questions) -> dict[str, Bool[np.ndarray, " questions"]]:
    """Which questions are of each kind, and all of them."""
    kinds = np.array([each.kind for each in questions])
    return {kind: kinds == kind for kind in questions.kinds} | {OVERALL: kinds == kinds}
