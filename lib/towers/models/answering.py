"""Heads that answer: a question above its picture, by an image tower; a task, about sentences.

The projection of a pair is replaced by a new linear layer, with one output for each answer that is
frequent in training; or by a network with two hidden layers, which gives classes or a score. Which
activation the paper's has it does not say: ours is GELU.

Source: Tschannen et al. 2023, sections 4.2, A and B.1.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from towers.data.questions import Questions
from towers.models.encoders import ImageTower
from towers.rendering import render_question

KEPT = 2**29
"""Bytes of pages that are held; more of them are drawn whenever they are looked at."""
AT_ONCE = 16
"""Pictures, of whatever size, that are held while their pages are drawn."""
MOST = 3129
"""Answers that a classifier chooses among at most: those that VQAv2 has nine times or more."""
HEAD_STD = 0.01
"""Of the new layer's first weights; its biases begin at 0."""


def frequent(answers: Iterable[str], most: int = MOST) -> tuple[str, ...]:
    """The answers that a classifier chooses among.

    Args:
        answers: to the questions of training, one each, as `normalised`.
        most: how many at most.

    Returns:
        The most frequent first; equally frequent ones in the order of the alphabet.

    Raises:
        ValueError: fewer than two, among which there is nothing to choose.
    """
    counts = Counter(answers)
    kept = sorted(counts, key=lambda answer: (-counts[answer], answer))[:most]
    if len(kept) < 2:
        raise ValueError(f"expected at least two answers to choose among, got {len(kept)}")
    return tuple(kept)


class Pages:
    """Questions above their pictures; each page is drawn once, if all of them fit into `KEPT`.

    Attributes:
        questions: the set.
        size: side of the pages in pixels.
    """

    def __init__(self, questions: Questions, size: int) -> None:
        self.questions, self.size = questions, size
        shape = (len(questions), size, size, 3)
        self._kept = np.empty(shape, np.uint8) if np.prod(shape) <= KEPT else None
        self._drawn = np.zeros(len(questions), bool)

    def __getitem__(self, rows: Sequence[int]) -> UInt8[np.ndarray, "rows size size 3"]:
        """The pages of some questions."""
        rows = np.asarray(rows)
        if self._kept is None:
            return self._draw(rows)
        new = np.unique(rows[~self._drawn[rows]])
        if len(new):
            self._kept[new] = self._draw(new)
            self._drawn[new] = True
        return self._kept[rows]

    def _draw(self, rows: np.ndarray) -> UInt8[np.ndarray, "rows size size 3"]:
        pages = []
        for start in range(0, len(rows), AT_ONCE):
            seen = self.questions.seen(rows[start : start + AT_ONCE].tolist())
            both = zip(*seen, strict=True)
            pages += [render_question(picture, text, self.size) for picture, text in both]
        return np.stack(pages)


class Answerer(nn.Module):
    """An image tower and a classifier over answers.

    Attributes:
        tower: that was given.
        head: the classifier, drawn by the seed.
        answers: that it chooses among.
    """

    def __init__(self, tower: ImageTower, answers: Sequence[str], seed: int = 0) -> None:
        """Put a new classifier on a tower.

        Args:
            tower: moves as far as its weights do.
            answers: the classes, all different and `normalised`.
            seed: of the classifier's first weights.

        Raises:
            ValueError: an answer stands there twice.
        """
        super().__init__()
        if len(set(answers)) < len(answers):
            raise ValueError(f"expected different answers, got {len(answers)} with repetitions")
        self.tower, self.answers = tower, tuple(answers)
        self.head = nn.Linear(tower.width, len(answers))
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            self.head.weight.normal_(std=HEAD_STD, generator=generator)
            self.head.bias.zero_()
        self.head.to(tower.device)

    @property
    def size(self) -> int:
        """Side of a page in pixels."""
        return self.tower.transform.size

    def forward(self, shown: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch answers"]:
        """A score for each answer, from pages."""
        images = self.tower.transform.normalised(shown.to(self.head.weight.device))
        return self.head(self.tower(images))

    def classes(self, answers: Sequence[str]) -> Int[Tensor, " answers"]:
        """The numbers of some of the answers."""
        number = {answer: place for place, answer in enumerate(self.answers)}
        return torch.tensor([number[answer] for answer in answers])

    def loss(
        self, scores: Float[Tensor, "batch answers"], classes: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """The cross-entropy, in nats."""
        return F.cross_entropy(scores, classes)

    @torch.inference_mode()
    def answer(self, questions: Questions, batch: int = 128) -> list[str]:
        """The answer with the greatest score, for each question; of equals the more frequent.

        Args:
            questions: to answer.
            batch: pages per forward pass.
        """
        self.eval()
        given, shown = [], Pages(questions, self.size)
        for start in range(0, len(questions), batch):
            rows = range(start, min(start + batch, len(questions)))
            scores = self(torch.from_numpy(shown[rows]))
            given += [self.answers[place] for place in scores.argmax(1).tolist()]
        return given


class TaskHead(nn.Sequential):
    """Two hidden layers, with dropout before each layer: classes, or a score.

    Attributes:
        classes: how many; 0 for a score.
        mean: of the scores of training; the network learns how many deviations they are from it.
        deviation: of the scores of training.

    Source: Tschannen et al. 2023, section 4.2.
    """

    def __init__(
        self, inputs: int, targets: np.ndarray, hidden: int = 768, dropout: float = 0.1
    ) -> None:
        """Draw the first weights from torch's generator.

        Args:
            inputs: axis length of what it reads.
            targets: of training: whole numbers of classes from 0, or scores.
            hidden: units of both hidden layers.
            dropout: before each layer.
        """
        scores = torch.as_tensor(targets)
        classes = 0 if scores.is_floating_point() else int(scores.max()) + 1
        layers: list[nn.Module] = []
        for size, following in pairwise((inputs, hidden, hidden, classes or 1)):
            layers += [nn.Dropout(dropout), nn.Linear(size, following), nn.GELU()]
        super().__init__(*layers[:-1])
        self.classes, (self.mean, self.deviation) = classes, (0.0, 1.0)
        if not classes:
            self.mean, self.deviation = scores.mean().item(), scores.std().item()

    def loss(self, outputs: Tensor, targets: Tensor) -> Float[Tensor, ""]:
        """Cross-entropy of classes, or the squared error of standardised scores."""
        if self.classes:
            return F.cross_entropy(outputs, targets)
        return F.mse_loss(outputs[:, 0], ((targets - self.mean) / self.deviation).float())

    @torch.inference_mode()
    def answers(self, rows: Float[np.ndarray, "examples inputs"]) -> np.ndarray:
        """Class numbers, or scores, from what the network reads."""
        device = self[1].weight.device
        outputs = self.eval()(torch.from_numpy(rows).to(device))
        if self.classes:
            return outputs.argmax(1).cpu().numpy()
        return (outputs[:, 0].cpu().double() * self.deviation + self.mean).numpy()
