"""What frozen features know about a task on sentences: a small network learns it on them.

It is the network that is put on a tower for fine-tuning (a recipe of objective "task"), and learns
by the same protocol, BERT's (3 epochs in batches of 32, a linear warm-up and decay, dropout of
0.1). Here it sees what a frozen tower, or any function, makes of the sentences, and takes a second.

Source: Tschannen et al. 2023, section 4.2; Devlin et al. 2019, appendix A.3.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from towers import models
from towers.data.sentences import Examples, Task
from towers.models.answering import TaskHead

Encode = Callable[[list[str]], Float[np.ndarray, "texts width"]]
"""Texts to features."""
WEIGHT_DECAY = 0.01  # of AdamW


def answers(
    model: models.TextTower | Encode,
    task: Task,
    *,
    seed: int = 0,
    width: int = 768,
    epochs: int = 3,
    batch: int = 32,
    lr: float = 1e-3,
    apart: bool = False,
) -> dict[str, np.ndarray]:
    """What a network says after it learnt a task: class numbers, or scores, for each test set.

    Args:
        model: a frozen text tower, which reads a page as its renderer or tokenizer gives it; or any
            function from texts to features.
        task: to learn and to answer.
        seed: of the network's first weights, the order of the examples and the dropout.
        width: units of both hidden layers.
        epochs: passes over the training examples.
        batch: examples per update.
        lr: peak learning rate, after a tenth of the updates; it falls to 0 on a straight line.
        apart: whether the sentences of a pair are read one by one, instead of from one page: then
            the network sees both features, their absolute difference and their product.
    """
    read = encoder(model)
    rows = _read(read, task.train, apart)
    mean, deviation = rows.mean(0), rows.std(0) + 1e-6
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = TaskHead(rows.shape[1], task.train.targets, width)
        targets = torch.as_tensor(task.train.targets)
        _fit(head, torch.from_numpy((rows - mean) / deviation), targets, epochs, batch, lr)
    return {
        column: head.answers((_read(read, part, apart) - mean) / deviation)
        for column, part in task.tests.items()
    }


def tuned_answers(tower: models.TextTower, head: TaskHead, task: Task) -> dict[str, np.ndarray]:
    """The same of a tower that has learnt the task with a head, on whole pages."""
    return {
        column: head.answers(models.features(tower.freeze(), part.pages, dtype="fp32"))
        for column, part in task.tests.items()
    }


def encoder(model: models.TextTower | Encode) -> Encode:
    """A tower's features, through the feature cache; a function stays as it is."""
    if not isinstance(model, models.TextTower):
        return model
    return lambda texts: models.features(model, texts, progress=False)


def _read(read: Encode, part: Examples, apart: bool) -> Float[np.ndarray, "examples width"]:
    if not (apart and part.seconds):
        return read(part.pages)
    first, second = read(list(part.texts)), read(list(part.seconds))
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


def _fit(head: TaskHead, rows: Tensor, targets: Tensor, epochs: int, batch: int, lr: float) -> None:
    """Train the network."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=1.0, weight_decay=WEIGHT_DECAY)
    updates = epochs * -(-len(rows) // batch)  # the last of a pass may be a part
    warmup = max(1, updates // 10)

    def rate(update: int) -> float:
        return lr * min((update + 1) / warmup, (updates - update) / max(1, updates - warmup))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    head.train()
    for _ in range(epochs):
        for some in torch.randperm(len(rows)).split(batch):
            optimiser.zero_grad()
            head.loss(head(rows[some]), targets[some]).backward()
            optimiser.step()
            schedule.step()
