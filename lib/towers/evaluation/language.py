"""Language understanding by GLUE's metrics: tasks about sentences, their scores and averages.

How a task is learnt is in `transfer`. Tasks are scored one by one, and on average.

Source: Tschannen et al. 2023, section 4.2 and Tables 2, 3, 5, 8.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from towers import metrics, models, rendering
from towers.data.sentences import Examples, Task
from towers.evaluation.transfer import Encode, answers, encoder
from towers.metrics import agreement, intervals
from towers.records import Measurement

SCORES = {
    "accuracy": (metrics.accuracy, agreement.guessed_accuracy),
    "F1": (metrics.f1, agreement.guessed_f1),
    "Matthews": (metrics.matthews, agreement.guessed_correlation),
    "Spearman": (metrics.spearman, agreement.guessed_correlation),
}
"""For each metric how it is computed, and what always the same answer gives."""
AVERAGE, TOGETHER = "average", "all tasks"
"""The metric over all tasks, and their name as data."""
DRAWS = 1000
"""Resamples of an interval."""


def evaluate(
    model: models.TextTower | Encode, task: Task, *, name: str = "", seed: int = 0, **learnt: Any
) -> list[Measurement]:
    """What a representation of sentences is worth in a task.

    Args:
        model: a frozen text tower, which reads a page as its renderer or tokenizer gives it; or any
            function from texts to features.
        task: to learn and to answer.
        name: of the model in records; where empty, the tower's.
        seed: of the network's first weights, the order of the examples and the dropout.
        learnt: how, see `transfer.answers`.

    Returns:
        The task's metric for each of its test sets, beside what always the same answer gives, with
        a percentile bootstrap interval over examples (whole groups, where examples come in groups).
    """
    given = answers(model, task, seed=seed, **learnt)
    return scores(given, task, name=name or model.name, seed=seed)


def scores(
    given: Mapping[str, np.ndarray], task: Task, *, name: str, seed: int = 0
) -> list[Measurement]:
    """What `evaluate` gives, of answers that are there already.

    Args:
        given: test set -> answers, as `transfer.answers` gives them.
        task: that was answered.
        name: of the model in records.
        seed: of the answers.
    """
    score, guess = SCORES[task.metric]
    rows = []
    for column, part in task.tests.items():
        if task.metric == "accuracy":
            low, high = intervals.proportion(given[column] == part.targets, groups=_groups(part))
        else:
            low, high = _drawn(score, part, given[column])
        rows.append(
            Measurement(model=name, data=column, metric=task.metric, low=low, high=high,
                        value=score(given[column], part.targets), n=len(part), seed=seed,
                        chance=guess(part.targets))
        )  # fmt: skip
    return rows


def gains(
    given: Mapping[str, np.ndarray],
    base: Mapping[str, np.ndarray],
    task: Task,
    *,
    name: str,
    over: str,
    seed: int = 0,
) -> list[Measurement]:
    """How much better one model answers a task than another, on the same examples.

    Args:
        given: test set -> answers of the one, as `transfer.answers` gives them.
        base: of the other.
        task: that both were asked.
        name: of the one in records.
        over: name of the other.
        seed: of both.

    Returns:
        For each test set the metric's "gain" at `over` the other, "accuracy gain" for example, with
        a percentile bootstrap interval of the difference over examples.
    """
    score = SCORES[task.metric][0]

    def apart(ours: np.ndarray, theirs: np.ndarray, targets: np.ndarray) -> float:
        return score(ours, targets) - score(theirs, targets)

    rows = []
    for column, part in task.tests.items():
        both = given[column], base[column]
        low, high = _drawn(apart, part, *both)
        rows.append(
            Measurement(model=name, data=column, metric=f"{task.metric} gain", low=low, high=high,
                        value=apart(*both, part.targets), n=len(part), seed=seed,
                        at={"over": over})
        )  # fmt: skip
    return rows


def guessing(task: Task) -> dict[str, float]:
    """What always the same answer gives on each test set: the most frequent class, 1 for F1."""
    return {column: SCORES[task.metric][1](part.targets) for column, part in task.tests.items()}


def shown(task: Task, size: int) -> Task:
    """The task with each sentence cut to what a page of its own shows, for models of words.

    Args:
        task: any.
        size: side of a page in pixels.
    """

    def cut(texts: tuple[str, ...]) -> tuple[str, ...]:
        counts = rendering.drawn(texts, size).tolist() if texts else []
        return tuple(text[:count] for text, count in zip(texts, counts, strict=True))

    def of(part: Examples) -> Examples:
        return replace(part, texts=cut(part.texts), seconds=cut(part.seconds))

    tests = {column: of(part) for column, part in task.tests.items()}
    return replace(task, train=of(task.train), tests=tests)


def seen(task: Task, size: int) -> list[Measurement]:
    """Share of the characters of the test sets that `shown` leaves: what a pixel tower can see."""
    rows = []
    for column, part in shown(task, size).tests.items():
        both = (part, task.tests[column])
        left, there = (sum(map(len, each.texts + each.seconds)) for each in both)
        rows.append(Measurement(model=f"page of {size}", data=column, metric="characters seen",
                                value=left / max(1, there), n=len(part)))  # fmt: skip
    return rows


def word_counts(train: Examples, width: int = 128) -> Encode:
    """A representation that knows words, but neither their order nor anything beyond the task.

    Weighted counts of words in the training sentences (tf-idf), brought down to `width` numbers
    by singular value decomposition (latent semantic analysis).
    """
    counts = TfidfVectorizer(sublinear_tf=True, min_df=2)
    sparse = counts.fit_transform([*train.texts, *train.seconds])
    width = min(width, min(sparse.shape) - 1)
    reduction = TruncatedSVD(width, random_state=0).fit(sparse)
    return lambda texts: reduction.transform(counts.transform(texts)).astype(np.float32)


def word_similarity(
    model: models.TextTower | Encode, pairs: Examples, data: str, *, name: str = "", seed: int = 0
) -> Measurement:
    """Spearman's correlation of cosine similarities with people's ratings; nothing is learnt.

    Args:
        model: as for `evaluate`.
        pairs: of words, as `sentences.rated_pairs` gives them.
        data: their name.
        name: of the model in records; where empty, the tower's.
        seed: of the model.
    """
    read = encoder(model)
    first, second = (torch.from_numpy(read(list(side))) for side in (pairs.texts, pairs.seconds))
    sims = F.cosine_similarity(first.double(), second.double()).numpy()
    rows = np.stack([sims, pairs.targets], 1)
    low, high = intervals.bootstrap(rows, lambda drawn: metrics.spearman(*drawn.T),
                                    n_resamples=DRAWS)  # fmt: skip
    value = metrics.spearman(sims, pairs.targets)
    return Measurement(model=name or model.name, data=data, metric="Spearman", value=value, low=low,
                       high=high, n=len(pairs), seed=seed)  # fmt: skip


def averages(rows: Sequence[Measurement], columns: Sequence[str]) -> list[Measurement]:
    """The plain mean over the columns of a table, for each model and seed that has them all.

    Of GLUE's nine columns two are MNLI's, so that it counts twice, as in the paper.

    Args:
        rows: of `scores` and of `gains`.
        columns: that the mean is over.

    Returns:
        "average" beside the mean of chance, and "average gain" at `over` the other model. The ends
        of its interval add up the columns' own as independent errors, as no two columns have an
        example in common; n is the number of columns.
    """
    found: dict[tuple[str, int | None, str | None], dict[str, Measurement]] = {}
    for row in rows:
        if row.data in columns:
            found.setdefault((row.model, row.seed, row.at.get("over")), {})[row.data] = row
    means = []
    for (model, seed, over), cells in found.items():
        if len(cells) < len(columns):
            continue
        values = np.array([cells[column].value for column in columns])
        value, more = float(values.mean()), {"at": {"over": over} if over else {}}
        if all(cells[column].chance is not None for column in columns):
            more["chance"] = float(np.mean([cells[column].chance for column in columns]))
        if all(cells[column].low is not None for column in columns):
            lows = values - [cells[column].low for column in columns]
            highs = np.array([cells[column].high for column in columns]) - values
            more |= {"low": value - float(np.linalg.norm(lows)) / len(columns),
                     "high": value + float(np.linalg.norm(highs)) / len(columns)}  # fmt: skip
        metric = f"{AVERAGE} gain" if over else AVERAGE
        means.append(Measurement(model=model, data=TOGETHER, metric=metric, value=value,
                                 n=len(columns), seed=seed, **more))  # fmt: skip
    return means


def above_guessing(rows: Sequence[Measurement]) -> list[Measurement]:
    """In how many columns the whole interval of every seed of a model lies above guessing.

    Args:
        rows: of `evaluate`.

    Returns:
        Rows of "tasks above guessing"; n is the number of columns.
    """
    found: dict[str, dict[str, list[bool]]] = {}
    for row in rows:
        columns = found.setdefault(row.model, {})
        columns.setdefault(row.data, []).append(row.low > row.chance)
    return [
        Measurement(model=model, data=TOGETHER, metric="tasks above guessing",
                    value=float(sum(map(all, columns.values()))), n=len(columns))
        for model, columns in found.items()
    ]  # fmt: skip


def single_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a frame of records that one seed gave, with `run`, "seed 0" for example."""
    own = frame[frame.seed.notna()]
    return own.assign(run="seed " + own.seed.astype(int).astype(str))


def recomputed(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A published table with the means of its rows beside the averages that it prints.

    Args:
        frame: with the column avg, in percent, one decimal.
        columns: that the average is over.

    Returns:
        The same rows with `mean`, and `differs`: whether no rounding of the cells explains it.
    """
    mean = frame[list(columns)].mean(axis=1)
    return frame.assign(mean=mean, differs=(mean - frame["avg"]).abs() > 0.05 + 0.05 + 1e-9)


def differing(frame: pd.DataFrame, name: str) -> Measurement:
    """How many rows of `recomputed` print an average that is not theirs; n of them.

    Args:
        frame: rows of `recomputed`.
        name: of the table.
    """
    return Measurement(model="published", data=name, metric="averages that differ",
                       value=float(frame["differs"].sum()), n=len(frame))  # fmt: skip


def _drawn(
    statistic: Callable[..., float], part: Examples, *answers: np.ndarray
) -> intervals.Interval:
    """Interval of a statistic of answers and targets over examples, or whole groups of them."""
    rows = np.stack([*answers, part.targets], 1)
    return intervals.bootstrap(
        rows, lambda drawn: statistic(*drawn.astype(answers[0].dtype).T), n_resamples=DRAWS,
        groups=_groups(part),
    )  # fmt: skip


def _groups(part: Examples) -> np.ndarray | None:
    """Examples that belong together, where any do."""
    return np.asarray(part.groups) if len(set(part.groups)) < len(part) else None
