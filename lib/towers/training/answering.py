"""Fine-tuning of an image tower on questions that stand above their pictures.

Source: Tschannen et al. 2023, section B.1, after Dou et al. 2022 (METER).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from towers.data.questions import Questions
from towers.metrics.vqa import vqa_accuracies
from towers.models.answering import Answerer, Pages, frequent
from towers.models.encoders import ImageTower
from towers.progress import tqdm
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.schedules import cosine


@dataclass(frozen=True)
class FineTuning:
    """How a tower learns to answer; by default as the paper has it, its batch apart.

    Attributes:
        steps: updates.
        warmup: updates until the peak of the cosine schedule.
        batch: questions per update; the paper does not say how many.
        optimiser: "sgd", with momentum; or "adamw", which the paper does not use.
        lr: peak learning rate of the tower.
        head_factor: that the classifier's learning rate is greater by.
        momentum: of SGD.
        weight_decay: decoupled, of AdamW.
        clip_norm: largest norm of the gradient of all weights together.
        most: answers that there is a choice among.
        seed: of the classifier's first weights and of the order of the questions.
    """

    steps: int = 8000
    warmup: int = 800
    batch: int = 256
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    head_factor: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    most: int = 3129
    seed: int = 0

    def __post_init__(self) -> None:
        if self.optimiser not in ("sgd", "adamw"):
            raise TrainingError(f"expected optimiser sgd or adamw, got {self.optimiser!r}")
        positive = ("steps", "batch", "lr", "head_factor", "clip_norm", "most")
        bad = [name for name in positive if not 0 < getattr(self, name) < math.inf]
        if bad or not (0 <= self.warmup < self.steps and 0 <= self.momentum < 1):
            given = ", ".join(f"{n} {getattr(self, n)}" for n in (*bad, "warmup", "momentum"))
            raise TrainingError(
                f"expected {', '.join(positive)} above 0, warmup below steps and momentum from 0 "
                f"to below 1; got {given}"
            )


@dataclass(frozen=True)
class Tuned:
    """A tower that has learnt to answer.

    Attributes:
        answerer: in evaluation mode.
        losses: of each update's batch, in nats.
        lr: peak learning rate that it was tuned with.
        held: VQA accuracy on the questions that the rate was chosen on; None: there was no choice.
    """

    answerer: Answerer
    losses: tuple[float, ...]
    lr: float
    held: float | None = None


def fine_tune(
    tower: ImageTower, questions: Questions, how: FineTuning, progress: bool = True
) -> Tuned:
    """Replace what follows a tower by a classifier over answers, and train both on questions.

    A question whose answer is too rare to be a class is left out. The order is one random
    permutation after the other; the same seed gives the same weights on one machine.

    Args:
        tower: of any pair; stays as it is.
        questions: of training.
        how: settings.
        progress: show a bar on a terminal.

    Raises:
        TrainingFailed: the loss, or the gradient's norm, stops being finite.
        ValueError: fewer than two answers.
    """
    answerer = Answerer(tower, frequent(questions, how.most), how.seed).train()
    classes = answerer.classes(questions)
    rows = np.flatnonzero(classes >= 0)
    optimiser = _optimiser(answerer, how)
    order, pages, losses = _order(rows, how), Pages(questions, answerer.size), []
    torch.manual_seed(how.seed)  # of dropout, where the tower has any
    for step in tqdm(range(how.steps), desc="answering", disable=None if progress else True):
        picked = order[step * how.batch : (step + 1) * how.batch]
        scores = answerer(torch.from_numpy(pages[picked]))
        loss = F.cross_entropy(scores, classes[picked].to(scores.device))
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(answerer.parameters(), how.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingFailed(
                f"expected a finite loss and gradient, got {loss.item()} and {norm.item()} at step "
                f"{step + 1} of {how.steps}; lower lr ({how.lr:g})"
            )
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * cosine(step, how.steps, how.warmup)
        optimiser.step()
        losses.append(loss.item())
    return Tuned(answerer.eval(), tuple(losses), how.lr)


def chosen(
    tower: ImageTower,
    questions: Questions,
    how: FineTuning,
    rates: Sequence[float],
    share: float = 0.1,
    progress: bool = True,
) -> Tuned:
    """Fine-tune at several learning rates and keep the one that answers held-out questions best.

    Args:
        tower: as for `fine_tune`.
        questions: of training; some pictures are held out with all their questions.
        how: settings, but for the rate.
        rates: to try; of equals the first is kept.
        share: of the pictures that are held out.
        progress: as for `fine_tune`.

    Raises:
        TrainingFailed: as `fine_tune`, at every rate.
        ValueError: no rate, or too few pictures to hold some out.

    Source: Tschannen et al. 2023, section B.1: one of 0.03, 0.1 and 0.2, on a tenth of VQAv2's
        validation part.
    """
    learnt, held = questions.parted(share, how.seed)
    best, failure = None, None
    for rate in rates:
        try:
            tuned = fine_tune(tower, learnt, replace(how, lr=rate), progress)
        except TrainingFailed as error:
            failure = error
            continue
        given = tuned.answerer.answer(held)
        score = float(vqa_accuracies(given, [each.answers for each in held]).mean())
        if best is None or score > best.held:
            best = replace(tuned, held=score)
    if best is None:
        raise failure or TrainingError("expected at least one learning rate to try, got none")
    return best


def _optimiser(answerer: Answerer, how: FineTuning) -> torch.optim.Optimizer:
    """Over the tower and the head, whose rate is a multiple of the tower's."""
    groups = [
        {"params": list(part.parameters()), "lr": rate, "peak": rate}
        for part, rate in (
            (answerer.tower, how.lr), (answerer.head, how.lr * how.head_factor),
        )
    ]  # fmt: skip
    if how.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=how.momentum)
    return torch.optim.AdamW(groups, weight_decay=how.weight_decay)


def _order(rows: np.ndarray, how: FineTuning) -> np.ndarray:
    """Rows for all updates, permutation after permutation."""
    draws = np.random.default_rng(how.seed)
    epochs = -(-how.steps * how.batch // len(rows))
    return np.concatenate([draws.permutation(rows) for _ in range(epochs)])
