"""The smallest loop that trains two projections over the features of frozen towers."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from towers import losses, models
from towers.training.errors import TrainingError
from towers.training.schedules import cosine


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


class Pairs(Dataset):
    """Image features with the features of one of each image's texts, drawn anew each time.

    Args:
        image_features: one row per image.
        text_features: one row per distinct text.
        texts_of: for each image the rows of its texts, at least one.
        seed: of the draws.
    """

    def __init__(
        self,
        image_features: Float[np.ndarray, "images width"],
        text_features: Float[np.ndarray, "texts text_width"],
        texts_of: Sequence[Int[np.ndarray, " captions"]],
        seed: int,
    ):
        _check(image_features, text_features, texts_of)
        self.image_features = torch.from_numpy(np.asarray(image_features, dtype=np.float32))
        self.text_features = torch.from_numpy(np.asarray(text_features, dtype=np.float32))
        self.counts = np.array([len(rows) for rows in texts_of])
        self.starts = np.cumsum(self.counts) - self.counts
        self.texts = np.concatenate([np.asarray(rows) for rows in texts_of])
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.image_features)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """A whole batch: (batch, width) and (batch, text_width)."""
        picked = self.starts[rows] + self.rng.integers(self.counts[rows])
        return self.image_features[rows], self.text_features[self.texts[picked]]


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
        TrainingError: features and texts do not belong together, the loss stops being finite
            (nothing is updated after that), or several processes were launched.

    Source: Radford et al. 2021, sec. 2.5 (AdamW, decay on all but gains and biases, cosine).
    """
    accelerator = Accelerator()
    if accelerator.num_processes > 1:
        raise TrainingError(
            f"expected one process, got {accelerator.num_processes}; start without a launcher"
        )
    pairs = Pairs(image_features, text_features, texts_of, seed)
    optimiser = torch.optim.AdamW(_groups(dual, weight_decay), lr=lr, betas=(0.9, 0.98))
    rate = LambdaLR(optimiser, partial(cosine, steps=steps, warmup=warmup))
    dual, optimiser, loader, rate = accelerator.prepare(
        dual, optimiser, _loader(pairs, batch, seed), rate
    )
    noise = torch.Generator(accelerator.device).manual_seed(seed)
    batches, seen = _endless(loader), []
    for step in tqdm(range(steps), desc="training", disable=None if progress else True):
        images, texts = (_dropped(part, dropout, noise) for part in next(batches))
        where = f"at step {step + 1} of {steps}; lower lr ({lr:g})"
        scale = dual.logit_scale
        _must_be_finite("log_scale", scale.log().item(), where)
        loss = losses.clip_loss(dual.embed_images(images), dual.embed_texts(texts), scale)
        _must_be_finite("loss", loss.item(), where)
        seen.append((loss.item(), scale.item(), rate.get_last_lr()[0]))
        accelerator.backward(loss)
        optimiser.step()
        rate.step()
        optimiser.zero_grad()
        dual.clip_scale_()
    return History(*zip(*seen, strict=True))


def _must_be_finite(what: str, value: float, where: str) -> None:
    if not math.isfinite(value):
        raise TrainingError(f"expected a finite {what}, got {value} {where}")


def _loader(pairs: Pairs, batch: int, seed: int) -> DataLoader:
    """Whole batches in an order that the seed determines."""
    return DataLoader(
        pairs,
        batch_size=min(batch, len(pairs)),
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=lambda features: features,
    )


def _groups(dual: models.DualTower, weight_decay: float) -> list[dict]:
    """Parameters with weight decay (matrices) and without (the scale)."""
    matrices = [*dual.image_proj.parameters(), *dual.text_proj.parameters()]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": [dual.log_scale], "weight_decay": 0.0},
    ]


def _endless(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch, each in its own order."""
    while True:
        yield from loader


def _dropped(features: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """Features with a share of them set to zero and the others scaled up to keep the mean."""
    if not share:
        return features
    kept = torch.rand(features.shape, generator=noise, device=features.device) >= share
    return features * kept / (1 - share)


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
