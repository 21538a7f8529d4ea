"""Language understanding by GLUE's metrics: tasks about sentences, their scores and averages.

How a task is learnt is in `transfer`. Tasks are scored one by one, and on average.

Source: Tschannen et al. 2023, section 4.2 and Tables 2, 3, 5, 8.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from towers import metrics, models, rendering
from towers.data.sentences import Examples, Task
from towers.evaluation.transfer import Encode, Transfer, answers, encoder
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
    model: models.TextTower | Encode,
    task: Task,
    transfer: Transfer,
    *,
    name: str = "",
    seed: int = 0,
) -> list[Measurement]:
    """What a representation of sentences is worth in a task.

    Args:
        model: a frozen text tower, which reads a page as its renderer or tokenizer gives it; or any
            function from texts to features (then nothing can be fine-tuned).
        task: to learn and to answer.
        transfer: how it is learnt.
        name: of the model in records; where empty, the tower's.
        seed: of the MLP's first weights, the order of the examples and the dropout.

    Returns:
        The task's metric for each of its test sets, beside what always the same answer gives, with
        a percentile bootstrap interval over examples (whole groups, where examples come in groups).

    Raises:
        ValueError: `transfer` asks to fine-tune what is no tower, or on sentences read apart.
    """
    given = answers(model, task, transfer, seed)
    return [
        _measured(name or model.name, column, task, part, given[column], seed)
        for column, part in task.tests.items()
    ]


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
        rows: of `evaluate`.
        columns: that the mean is over.

    Returns:
        Their metric is "average", beside the mean of chance. The ends of its interval add up the
        columns' own as independent errors; n is the number of columns.
    """
    found: dict[tuple[str, int | None], dict[str, Measurement]] = {}
    for row in rows:
        if row.data in columns:
            found.setdefault((row.model, row.seed), {})[row.data] = row
    means = []
    for (model, seed), cells in found.items():
        if len(cells) < len(columns):
            continue
        values = np.array([cells[column].value for column in columns])
        value, ends = float(values.mean()), {}
        if all(cells[column].low is not None for column in columns):
            lows = values - [cells[column].low for column in columns]
            highs = np.array([cells[column].high for column in columns]) - values
            ends = {"low": value - float(np.linalg.norm(lows)) / len(columns),
                    "high": value + float(np.linalg.norm(highs)) / len(columns)}  # fmt: skip
        if all(cells[column].chance is not None for column in columns):
            ends["chance"] = float(np.mean([cells[column].chance for column in columns]))
        means.append(Measurement(model=model, data=TOGETHER, metric=AVERAGE, value=value,
                                 n=len(columns), seed=seed, **ends))  # fmt: skip
    return means


def gains(rows: Sequence[Measurement], base: str) -> list[Measurement]:
    """How far each model's average lies above another model's of the same seed.

    Args:
        rows: of `averages`; those without an interval are passed by.
        base: name of the other model.

    Returns:
        Rows of "average gain" at `over` the base. The interval takes both errors as independent: it
        is too wide where models that answered the same questions err on the same ones, as a rule,
        and too narrow where one errs on those that the other has right.
    """
    means = {(r.model, r.seed): r for r in rows if r.metric == AVERAGE and r.low is not None}
    found = []
    for (model, seed), row in means.items():
        other = means.get((base, seed))
        if other is None or model == base:
            continue
        value = row.value - other.value
        below = float(np.hypot(row.value - row.low, other.high - other.value))
        above = float(np.hypot(row.high - row.value, other.value - other.low))
        ends = {"low": value - below, "high": value + above}
        found.append(Measurement(model=model, data=TOGETHER, metric=f"{AVERAGE} gain", value=value,
                                 n=row.n, seed=seed, at={"over": base}, **ends))  # fmt: skip
    return found


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


def _measured(
    name: str, column: str, task: Task, part: Examples, answers: np.ndarray, seed: int
) -> Measurement:
    score, guess = SCORES[task.metric]
    rows = np.stack([answers, part.targets], 1)
    kind = answers.dtype
    grouped = len(set(part.groups)) < len(part)
    groups = np.asarray(part.groups) if grouped else None
    if task.metric == "accuracy":
        low, high = intervals.proportion(answers == part.targets, groups=groups)
    else:
        low, high = intervals.bootstrap(
            rows, lambda drawn: score(*drawn.astype(kind).T), n_resamples=DRAWS, groups=groups
        )
    value = score(answers, part.targets)
    return Measurement(model=name, data=column, metric=task.metric, value=value, low=low, high=high,
                       n=len(part), seed=seed, chance=guess(part.targets))  # fmt: skip
