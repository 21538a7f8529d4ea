"""Projections trained over features that frozen towers have given once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from towers import models
from towers.progress import tqdm
from towers.training import processes
from towers.training.batches import Batch, stream
from towers.training.errors import TrainingError
from towers.training.loop import Plan, Trainer, Update
from towers.training.objectives import Contrastive
from towers.training.order import Order


@dataclass(frozen=True)
class History:
    """What each update saw, in order.

    Attributes:
        loss: of the batch before the update, in nats.
        logit_scale: before the update, at most 100.
        learning_rate: of the update.
    """

    loss: tuple[float, ...]
    logit_scale: tuple[float, ...]
    learning_rate: tuple[float, ...]

    def frame(self) -> pd.DataFrame:
        """One row per update, counted from 1."""
        steps = pd.RangeIndex(1, len(self.loss) + 1, name="step")
        return pd.DataFrame(vars(self), index=steps).reset_index()


@dataclass(frozen=True)
class Pairs(Dataset):
    """Image features with the features of one of each image's texts, drawn anew in each epoch.

    Attributes:
        image_features: one row per image.
        text_features: one row per distinct text.
        texts_of: for each image the rows of its texts, at least one.
        order: of the images; a step is one batch.
    """

    image_features: Float[np.ndarray, "images width"]
    text_features: Float[np.ndarray, "texts text_width"]
    texts_of: Sequence[Int[np.ndarray, " captions"]]
    order: Order

    def __post_init__(self) -> None:
        _check(self.image_features, self.text_features, self.texts_of)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step."""
        draw, (counts, starts, texts) = self.order.draw(step), self._index
        rows, picks = draw.rows, draw.picks
        picked = texts[starts[rows] + (picks % counts[rows].astype(np.uint64)).astype(np.int64)]
        return Batch(self._rows(self.image_features, rows), self._rows(self.text_features, picked))

    @staticmethod
    def _rows(features: np.ndarray, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(features[rows], dtype=np.float32))

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each image how many texts it has and where they start; the rows of all texts."""
        counts = np.array([len(rows) for rows in self.texts_of])
        texts = np.concatenate([np.asarray(rows) for rows in self.texts_of])
        return counts, np.cumsum(counts) - counts, texts


class Dropped(Contrastive):
    """The contrastive objective over features of which a share is set to zero in each pair."""

    def __init__(self, dual: models.DualTower, share: float) -> None:
        super().__init__(dual)
        self.share = share

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of what is left, scaled up to keep the mean, and the scale of the logits."""
        return super().forward(*(F.dropout(side, self.share) for side in (images, texts)))


def fit(
    dual: models.DualTower,
    image_features: Float[np.ndarray, "images width"],
    text_features: Float[np.ndarray, "texts text_width"],
    texts_of: Sequence[Int[np.ndarray, " captions"]],
    *,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    warmup: int,
    dropout: float = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train a dual tower's projections and scale in place; its towers are never touched.

    Args:
        dual: both projections are updated, and `log_scale`, kept at or below log(100).
        image_features: outputs of the image tower, one row per image.
        text_features: outputs of the text tower, one row per distinct text.
        texts_of: for each image the rows of its texts; one is drawn whenever the image is used.
        steps: updates in all.
        batch: pairs per update (all of them where there are fewer); the others are the negatives.
        lr: peak of the cosine schedule.
        weight_decay: decoupled, on the projections' weights, not on the scale.
        warmup: updates until the peak.
        dropout: share of features set to zero in each pair, the rest scaled up.
        seed: of the order, the drawn texts and the dropout; the same seed repeats a run bit by
            bit on the same machine.
        progress: show a bar on a terminal.

    Returns:
        Loss, scale and learning rate of every update.

    Raises:
        TrainingError: features and texts do not belong together, or several processes were
            launched.
        TrainingFailed: the loss stops being finite; nothing is updated after that.

    Source: Radford et al. 2021, sec. 2.5 (AdamW, decay on all but gains and biases, cosine).
    """
    accelerator = processes.start()
    if accelerator.num_processes > 1:
        raise TrainingError(
            f"expected one process, got {accelerator.num_processes}; start without a launcher"
        )
    order = Order((len(image_features),), min(batch, len(image_features)), seed)
    pairs = Pairs(image_features, text_features, texts_of, order)
    plan = Plan(steps, lr, weight_decay=weight_decay, warmup=warmup, seed=seed)
    trainer = Trainer(Dropped(dual, dropout), plan, accelerator)
    seen: list[Update] = []
    with tqdm(total=steps, desc="training", disable=None if progress else True) as bar:
        trainer.run(stream(pairs, 0, steps), 0, lambda done: (seen.append(done), bar.update()))
    return History(
        tuple(update.loss for update in seen),
        tuple(update.logit_scale for update in seen),
        tuple(update.learning_rate for update in seen),
    )


def _check(images: np.ndarray, texts: np.ndarray, texts_of: Sequence[np.ndarray]) -> None:
    """Refuse features and texts that do not belong together, before the first update."""
    if len(images) < 2 or len(texts_of) != len(images):
        raise TrainingError(
            f"expected texts for each of at least 2 images, got {len(images)} images and texts "
            f"for {len(texts_of)}; check the data's filters"
        )
    if not (np.isfinite(images).all() and np.isfinite(texts).all()):
        raise TrainingError("expected finite features, got NaN or infinity; check the towers")
    empty = [image for image, rows in enumerate(texts_of) if not len(rows)]
    if empty:
        raise TrainingError(
            f"expected a text for every image, got none for {len(empty)} of them (the first is "
            f"number {empty[0]}); drop them first"
        )
    rows = np.concatenate([np.asarray(rows) for rows in texts_of])
    if rows.min() < 0 or rows.max() >= len(texts):
        raise TrainingError(
            f"expected text rows from 0 to {len(texts) - 1}, got {rows.min()} to {rows.max()}"
        )
