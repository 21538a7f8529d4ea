"""An image tower that answers questions: they stand above the picture, and a classifier picks.

The projection of a pair is replaced by a new linear layer, with one output for each answer that is
frequent in training.

Source: Tschannen et al. 2023, sections 4.2 (VQA), A and B.1.
"""

import copy
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from towers.data.questions import Questions
from towers.metrics.vqa import normalised
from towers.models.encoders import ImageTower
from towers.rendering import render_question

KEPT = 2**29
"""Bytes of pages that are held; more of them are drawn whenever they are looked at."""
AT_ONCE = 16
"""Pictures, of whatever size, that are held while their pages are drawn."""
HEAD_STD = 0.01
"""Of the new layer's first weights; its biases begin at 0."""


def frequent(questions: Questions, most: int = 3129) -> tuple[str, ...]:
    """The answers that a classifier chooses among.

    Args:
        questions: of training; each counts with its most frequent answer, `normalised`.
        most: how many at most; 3,129 are those that VQAv2 has nine times or more.

    Returns:
        The most frequent first; equally frequent ones in the order of the alphabet.

    Raises:
        ValueError: fewer than two, among which there is nothing to choose.
    """
    counts = Counter(normalised(each.answer) for each in questions)
    kept = sorted(counts, key=lambda answer: (-counts[answer], answer))[:most]
    if len(kept) < 2:
        raise ValueError(
            f"expected at least two answers to choose among in {questions.name}, got {len(kept)}"
        )
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
        tower: a copy of the tower that was given, trainable.
        head: the classifier, drawn by the seed.
        answers: that it chooses among.
    """

    def __init__(self, tower: ImageTower, answers: Sequence[str], seed: int = 0) -> None:
        """Put a new classifier on a tower.

        Args:
            tower: stays as it is.
            answers: the classes, all different and `normalised`.
            seed: of the classifier's first weights.

        Raises:
            ValueError: an answer stands there twice.
        """
        super().__init__()
        if len(set(answers)) < len(answers):
            raise ValueError(f"expected different answers, got {len(answers)} with repetitions")
        self.tower = copy.deepcopy(tower).requires_grad_(True)
        self.head = nn.Linear(tower.width, len(answers))
        self.answers = tuple(answers)
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

    def classes(self, questions: Questions) -> Int[Tensor, " questions"]:
        """The class of each question's most frequent answer; -1 where it is none."""
        number = {answer: place for place, answer in enumerate(self.answers)}
        return torch.tensor([number.get(normalised(each.answer), -1) for each in questions])

    @torch.inference_mode()
    def answer(self, questions: Questions, batch: int = 128) -> list[str]:
        """The answer with the greatest score, for each question; of equals the more frequent.

        Args:
            questions: to answer.
            batch: pages per forward pass.
        """
        self.eval()
        found, shown = [], Pages(questions, self.size)
        for start in range(0, len(questions), batch):
            rows = range(start, min(start + batch, len(questions)))
            scores = self(torch.from_numpy(shown[rows]))
            found += [self.answers[place] for place in scores.argmax(1).tolist()]
        return found
