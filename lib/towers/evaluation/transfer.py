"""A small network that learns a task about sentences on a tower's representation of them.

The paper attaches a 2-hidden layer MLP with 768 units to a model, renders both sentences of a pair
on one picture, with [SEP] before the second, and fine-tunes the whole by BERT's protocol (batches
of 32, 3 epochs, Adam with a linear warm-up and decay, dropout of 0.1). Here the same network also
learns on frozen features (`Transfer.finetune` is off), which takes seconds; and a pair may be read
in two passes instead (`Transfer.apart`): then the network sees both features, their absolute
difference and their product, as sentence encoders are tested. Which activation the paper's MLP has,
and how its rate was chosen, it does not say: ours is GELU, and one rate for all tasks.

Source: Tschannen et al. 2023, section 4.2; Devlin et al. 2019, appendix A.3.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from towers import models
from towers.data.sentences import Examples, Task

Encode = Callable[[list[str]], Float[np.ndarray, "texts width"]]
"""Texts to features."""


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

    def updates(self, examples: int) -> int:
        """Updates in all, for so many training examples; the last of a pass may be a part."""
        return self.epochs * -(-examples // self.batch)

    def rate(self, update: int, updates: int) -> float:
        """The learning rate of an update, counted from 0, of so many."""
        warmup = max(1, updates // 10)
        climbing, falling = (update + 1) / warmup, (updates - update) / max(1, updates - warmup)
        return self.lr * min(climbing, falling)


BERT = Transfer(lr=3e-5, finetune=True)
"""BERT's protocol, with one of the four rates that it chooses from."""


def answers(
    model: models.TextTower | Encode, task: Task, transfer: Transfer, seed: int
) -> dict[str, np.ndarray]:
    """What a network says after it learnt a task: class numbers, or scores, for each test set.

    Args:
        model: a frozen text tower, which reads a page as its renderer or tokenizer gives it; or any
            function from texts to features (then nothing can be fine-tuned).
        task: to learn and to answer.
        transfer: how it is learnt.
        seed: of the MLP's first weights, the order of the examples and the dropout.

    Raises:
        ValueError: `transfer` asks to fine-tune what is no tower, or on sentences read apart.
    """
    if transfer.finetune and (transfer.apart or not isinstance(model, models.TextTower)):
        got = "apart=True" if transfer.apart else type(model).__name__
        raise ValueError(f"expected a text tower and whole pages to fine-tune, got {got}")
    apart = transfer.apart and bool(task.train.seconds)
    reader = _Pages(model) if transfer.finetune else _Features(model, apart)
    with torch.random.fork_rng([d for d in [reader.device] if d.type == "cuda"]):
        torch.manual_seed(seed)
        learnt = _learnt(reader, task, transfer)
        return {column: _answers(learnt, reader, part) for column, part in task.tests.items()}


def tuned(tower: models.TextTower, transfer: Transfer, outputs: int) -> nn.Module:
    """A copy of a tower with the MLP on it, all of which learns.

    Args:
        tower: on any device; the meta device too, for plans.
        transfer: how it is to learn.
        outputs: classes, or 1 for a score.
    """
    copied = copy.deepcopy(tower).requires_grad_(True)
    return nn.Sequential(copied, _Head(tower.width, transfer, outputs).to(tower.device))


def encoder(model: models.TextTower | Encode) -> Encode:
    """A tower's features, through the feature cache; a function stays as it is."""
    if not isinstance(model, models.TextTower):
        return model
    return lambda texts: models.features(model, texts, progress=False)


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

    device = torch.device("cpu")

    def __init__(self, model: models.TextTower | Encode, apart: bool) -> None:
        self._read, self._apart = encoder(model), apart
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
        self._tower, self.device = tower, tower.device

    def network(self, part: Examples, transfer: Transfer, outputs: int) -> nn.Module:
        """The tower's copy with the MLP on it."""
        return tuned(self._tower, transfer, outputs)

    def batches(self, part: Examples) -> Callable[[Tensor], dict[str, Tensor]]:
        """Rows of a part to the tower's input."""
        pages = part.pages

        def read(picked: Tensor) -> dict[str, Tensor]:
            tokens = self._tower.tokenize([pages[row] for row in picked.tolist()])
            return {name: each.to(self.device) for name, each in tokens.items()}

        return read


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
    optimiser = torch.optim.AdamW(network.parameters(), lr=1.0, weight_decay=transfer.weight_decay)
    steps = transfer.updates(len(part))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: transfer.rate(step, steps))
    for _ in range(transfer.epochs):
        for rows in torch.randperm(len(part)).split(transfer.batch):
            outputs = network(batches(rows))
            wanted = targets[rows].to(reader.device)
            if task.classes:
                loss = F.cross_entropy(outputs, wanted)
            else:
                loss = F.mse_loss(outputs[:, 0], ((wanted - mean) / deviation).float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return _Learnt(network.eval(), task.classes, float(mean), float(deviation))


@torch.no_grad()
def _answers(learnt: _Learnt, reader: _Features | _Pages, part: Examples) -> np.ndarray:
    batches = reader.batches(part)
    outputs = torch.cat([learnt.network(batches(rows)) for rows in
                         torch.arange(len(part)).split(256)]).cpu()  # fmt: skip
    if learnt.classes:
        return outputs.argmax(1).numpy()
    return (outputs[:, 0].double() * learnt.deviation + learnt.mean).numpy()
