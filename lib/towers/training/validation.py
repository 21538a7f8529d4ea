"""Validation: loss and retrieval on held-out pairs during a run."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from towers import losses, metrics
from towers.training.batches import Batch
from towers.training.objectives import Contrastive, Objective
from towers.training.order import Order
from towers.training.samples import Samples

ROWS = 1024
"""Pairs that are looked at, drawn once; fewer where there are fewer."""

CHUNK = 64  # pairs per forward pass


class Validation:
    """The loss over some held-out pairs, and how often a caption or a picture finds its own.

    Attributes:
        data: of the pairs.
    """

    def __init__(self, data: Samples) -> None:
        self.data = data
        order = Order(data.blocks, min(len(data), ROWS), seed=0)
        self._draw = order.draw(0)

    @torch.no_grad()
    def __call__(self, objective: Objective) -> dict[str, float]:
        """Evaluate an objective on this rank alone; nothing is random.

        Args:
            objective: in evaluation mode.

        Returns:
            "validation loss" in nats; of a contrastive objective the loss over all pairs as one
            batch, and "validation image retrieval R@1" and "validation text retrieval R@1".
        """
        outputs = [objective(batch.images, batch.texts) for batch in self._batches(objective)]
        if not isinstance(objective, Contrastive):
            values = [objective.loss(*output).item() for output in outputs]
            return {"validation loss": float(np.mean(values))}
        images, texts = (torch.cat([output[side] for output in outputs]) for side in (0, 1))
        loss = losses.tiled_clip_loss(images, texts, outputs[0][2], objective.tile)
        return {
            "validation loss": loss.item(),
            "validation text retrieval R@1": _recall(images @ texts.T),
            "validation image retrieval R@1": _recall(texts @ images.T),
        }

    def _batches(self, objective: Objective) -> Iterator[Batch]:
        device, contrastive = objective.dual.log_scale.device, isinstance(objective, Contrastive)
        # what was looked up are the captions of training
        tokenize = objective.dual.text.tokenize if contrastive else objective.tokenize
        for first in range(0, len(self._draw.rows), CHUNK):
            part = slice(first, first + CHUNK)
            read = self.data.read(self._draw.rows[part], self._draw.picks[part])
            yield Batch(torch.from_numpy(read.images), tokenize(read.texts)).to(device)


def _recall(sims: Float[Tensor, "queries candidates"]) -> float:
    own = [np.array([row]) for row in range(len(sims))]
    return metrics.recall_at_k(sims.float().cpu().numpy(), own, [1])[1]
