"""Language understanding: a small network on a representation of sentences, and on pairs of them.

The paper attaches a 2-hidden layer MLP with 768 units to a model, renders both sentences of a pair
on one picture, with [SEP] before the second, and fine-tunes the whole by BERT's protocol (batches
of 32, 3 epochs, Adam with a linear warm-up and decay, dropout of 0.1), scored task by task and on
average. Here the same network also learns on frozen features (`Transfer.finetune` is off), which
takes seconds; and a pair may be read in two passes instead (`Transfer.apart`): then the network
sees both features, their absolute difference and their product, as sentence encoders are tested.
Which activation the paper's MLP has, and how its rate was chosen, it does not say: ours is GELU,
and one rate for all tasks.

Source: Tschannen et al. 2023, section 4.2 and Tables 2, 3, 5, 8; Devlin et al. 2019, appendix A.3.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn

from towers import metrics, models, rendering
from towers.data.sentences import Examples, Task
from towers.metrics import agreement, intervals
from towers.records import Measurement

Encode = Callable[[list[str]], Float[np.ndarray, "texts width"]]
SCORES = {
    "accuracy": (metrics.accuracy, agreement.guessed_accuracy),
    "F1": (metrics.f1, agreement.guessed_f1),
    "Matthews": (metrics.matthews, agreement.guessed_correlation),
    "Spearman": (metrics.spearman, agreement.guessed_correlation),
}
"""For each metric how it is computed, and what always the same answer gives."""
GUESSING, AVERAGE = "guessing", "average"
"""The model that says always the same, and the column over all tasks."""
DRAWS = 1000
"""Resamples of an interval."""


@dataclass(frozen=True)
class Transfer:
    """How a task is learnt.

    Attributes:
        width: units of both hidden layers.
        epochs: passes over the training examples.
        batch: examples per update.
        lr: peak learning rate, after a tenth of the updates; it falls to 0 on a straight line.
        weight_decay: of AdamW.
        dropout: before each layer of the MLP.
        finetune: whether the tower learns too; else its features stay as they are.
        apart: whether the sentences of a pair are read one by one, instead of from one page.
    """

    width: int = 768
    epochs: int = 3
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    finetune: bool = False
    apart: bool = False


BERT = Transfer(lr=3e-5, finetune=True)
"""BERT's protocol, with one of the four rates that it chooses from."""


def evaluate(
    model: models.TextTower | Encode,
    task: Task,
    transfer: Transfer = Transfer(),
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
        The task's metric for each of its test sets, with a percentile bootstrap interval over
        examples (whole groups, where examples come in groups).

    Raises:
        ValueError: `transfer` asks to fine-tune what is no tower, or on sentences read apart.
    """
    if transfer.finetune and (transfer.apart or not isinstance(model, models.TextTower)):
        got = "apart=True" if transfer.apart else type(model).__name__
        raise ValueError(f"expected a text tower and whole pages to fine-tune, got {got}")
    apart = transfer.apart and bool(task.train.seconds)
    reader = _Pages(model) if transfer.finetune else _Features(model, apart)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learnt = _learnt(reader, task, transfer)
        answers = {column: _answers(learnt, reader, part) for column, part in task.tests.items()}
    return [
        _measured(name or model.name, column, task, part, answers[column], seed)
        for column, part in task.tests.items()
    ]


def guessing(task: Task) -> list[Measurement]:
    """What always the same answer gives: the most frequent class, for F1 class 1."""
    chance = SCORES[task.metric][1]
    return [
        Measurement(model=GUESSING, data=column, metric=task.metric, value=chance(part.targets),
                    n=len(part))
        for column, part in task.tests.items()
    ]  # fmt: skip


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
        whole = task.tests[column]
        left, all_ = (sum(map(len, each.texts + each.seconds)) for each in (part, whole))
        rows.append(Measurement(model=f"page of {size}", data=column, metric="characters seen",
                                value=left / max(1, all_), n=len(part)))  # fmt: skip
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
    read = _encoder(model)
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
        rows: of `evaluate` and `guessing`.
        columns: that the mean is over.

    Returns:
        Their metric is "average". The ends of its interval add up the columns' own as independent
        errors; n is the number of columns.
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
        means.append(Measurement(model=model, data=AVERAGE, metric=AVERAGE, value=value,
                                 n=len(columns), seed=seed, **ends))  # fmt: skip
    return means


def above_guessing(rows: Sequence[Measurement]) -> list[Measurement]:
    """In how many columns the whole interval of a model and seed lies above guessing; n of them."""
    guess = {row.data: row.value for row in rows if row.model == GUESSING}
    found: dict[tuple[str, int | None], list[bool]] = {}
    for row in rows:
        if row.low is not None and row.data in guess:
            found.setdefault((row.model, row.seed), []).append(row.low > guess[row.data])
    return [
        Measurement(model=model, data=AVERAGE, metric="tasks above guessing",
                    value=float(sum(sure)), n=len(sure), seed=seed)
        for (model, seed), sure in found.items()
    ]  # fmt: skip


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


class _Head(nn.Sequential):
    """Two hidden layers."""

    def __init__(self, inputs: int, transfer: Transfer, outputs: int) -> None:
        sizes = (inputs, transfer.width, transfer.width, outputs)
        layers = []
        for size, following in pairwise(sizes):
            layers += [nn.Dropout(transfer.dropout), nn.Linear(size, following), nn.GELU()]
        super().__init__(*layers[:-1])


class _Features:
    """Examples as frozen features, centred and scaled by those of the training part."""

    def __init__(self, model: models.TextTower | Encode, apart: bool) -> None:
        self._read, self._apart = _encoder(model), apart
        self._scale: tuple[np.ndarray, np.ndarray] | None = None

    def network(self, part: Examples, transfer: Transfer, outputs: int) -> nn.Module:
        """The MLP alone."""
        rows = self._rows(part)
        self._scale = rows.mean(0), rows.std(0) + 1e-6
        return _Head(rows.shape[1], transfer, outputs)

    def batches(self, part: Examples) -> Callable[[Tensor], Tensor]:
        """Rows of a part to the network's input."""
        mean, deviation = self._scale
        rows = torch.from_numpy((self._rows(part) - mean) / deviation)
        return lambda picked: rows[picked]

    def _rows(self, part: Examples) -> Float[np.ndarray, "examples width"]:
        if not self._apart:
            return self._read(part.pages)
        first, second = self._read(list(part.texts)), self._read(list(part.seconds))
        return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


class _Pages:
    """Examples as a tower's own input, and a copy of the tower that learns."""

    def __init__(self, tower: models.TextTower) -> None:
        self._tower = tower

    def network(self, part: Examples, transfer: Transfer, outputs: int) -> nn.Module:
        """The tower's copy with the MLP on it."""
        tower = copy.deepcopy(self._tower).requires_grad_(True)
        return nn.Sequential(tower, _Head(tower.width, transfer, outputs))

    def batches(self, part: Examples) -> Callable[[Tensor], dict[str, Tensor]]:
        """Rows of a part to the tower's input."""
        pages = part.pages
        return lambda picked: self._tower.tokenize([pages[row] for row in picked.tolist()])


@dataclass(frozen=True)
class _Learnt:
    """A trained network, and how its outputs become answers."""

    network: nn.Module
    classes: int
    mean: float
    deviation: float


def _learnt(reader: _Features | _Pages, task: Task, transfer: Transfer) -> _Learnt:
    """Cross-entropy of classes, or the squared error of standardised scores."""
    part, targets = task.train, torch.as_tensor(task.train.targets)
    mean, deviation = (0.0, 1.0) if task.classes else (targets.mean(), targets.std())
    network = reader.network(part, transfer, task.classes or 1).train()
    batches = reader.batches(part)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=transfer.lr, weight_decay=transfer.weight_decay
    )
    steps = transfer.epochs * -(-len(part) // transfer.batch)
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    for _ in range(transfer.epochs):
        for rows in torch.randperm(len(part)).split(transfer.batch):
            outputs = network(batches(rows))
            if task.classes:
                loss = F.cross_entropy(outputs, targets[rows])
            else:
                wanted = (targets[rows] - mean) / deviation
                loss = F.mse_loss(outputs[:, 0], wanted.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return _Learnt(network.eval(), task.classes, float(mean), float(deviation))


@torch.no_grad()
def _answers(learnt: _Learnt, reader: _Features | _Pages, part: Examples) -> np.ndarray:
    batches = reader.batches(part)
    outputs = torch.cat([learnt.network(batches(rows)) for rows in
                         torch.arange(len(part)).split(256)])  # fmt: skip
    if learnt.classes:
        return outputs.argmax(1).numpy()
    return (outputs[:, 0].double() * learnt.deviation + learnt.mean).numpy()


def _measured(
    name: str, column: str, task: Task, part: Examples, answers: np.ndarray, seed: int
) -> Measurement:
    score = SCORES[task.metric][0]
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
    return Measurement(model=name, data=column, metric=task.metric, value=value, low=low,
                       high=high, n=len(part), seed=seed)  # fmt: skip


def _encoder(model: models.TextTower | Encode) -> Encode:
    if not isinstance(model, models.TextTower):
        return model
    return lambda texts: models.features(model, texts, progress=False)
