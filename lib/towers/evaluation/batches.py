"""How the contrastive loss sees one batch: similarities, and each side's guess at the other.

Source: Radford et al. 2021, section 2.3, Fig. 3.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from towers import data, losses, metrics, models
from towers.data.images import shrink
from towers.evaluation import embeds
from towers.models.features import Precision
from towers.records import Measurement


@dataclass(frozen=True)
class Batch:
    """A batch as the loss sees it; row i is picture i, column j is text j.

    Attributes:
        images: the pictures, small enough for a figure.
        texts: one caption each.
        sims: cosine similarities.
        of_texts: each picture's probabilities of the texts; rows add up to 1.
        of_images: each text's probabilities of the pictures; columns add up to 1.
        scale: that similarities were multiplied with before both softmaxes.
        loss: mean of both directions, in nats.
    """

    images: list[Image.Image]
    texts: list[str]
    sims: Float[np.ndarray, "batch batch"]
    of_texts: Float[np.ndarray, "batch batch"]
    of_images: Float[np.ndarray, "batch batch"]
    scale: float
    loss: float


def view(
    dual: models.DualTower,
    collection: data.Collection,
    dtype: Precision | None = None,
) -> Batch:
    """All items of a collection as one batch, each with its first English caption.

    Args:
        dual: with frozen towers.
        collection: at least two items, all with a caption in English.
        dtype: in which the towers compute; None takes the quicker one.

    Raises:
        ValueError: fewer than two items, or one without such a caption.
    """
    captions = collection.captions("en")
    if len(captions) < 2 or not all(captions):
        raise ValueError(
            f"expected at least 2 items, all with an English caption, got {len(captions)} "
            f"of which {sum(map(bool, captions))} have one; choose others"
        )
    texts = [of_item[0] for of_item in captions]
    dtype = dtype or models.quick_dtype(dual.log_scale.device)
    of_pictures = torch.from_numpy(embeds.of_images(dual, collection, dtype))
    of_captions = torch.from_numpy(embeds.of_texts(dual, texts, dtype))
    scale = dual.logit_scale.detach().cpu()
    sims = of_pictures @ of_captions.T
    return Batch(
        [shrink(collection.image(index), 256) for index in range(len(texts))],
        texts,
        sims.numpy(),
        (scale * sims).softmax(1).numpy(),
        (scale * sims).softmax(0).numpy(),
        scale.item(),
        losses.clip_loss(of_pictures, of_captions, scale).item(),
    )


def evaluate(batch: Batch, model: str, name: str) -> list[Measurement]:
    """The loss, its value at chance, and how often the right partner is the likeliest.

    Args:
        batch: as `view` gives it.
        model: name of the pair.
        name: of the batch.
    """
    right = np.arange(len(batch.texts))
    hits = {
        "picture to text": batch.of_texts.argmax(1) == right,
        "text to picture": batch.of_images.argmax(0) == right,
    }
    partner = np.eye(len(right), dtype=bool)
    values = {
        "loss": batch.loss,
        "loss at chance": float(np.log(len(right))),
        "logit scale": batch.scale,
        "mean similarity of partners": float(batch.sims[partner].mean()),
        "mean similarity of others": float(batch.sims[~partner].mean()),
    }
    rows = [
        Measurement(model=model, data=name, metric=metric, value=value, n=len(right))
        for metric, value in values.items()
    ]
    for way, hit in hits.items():
        low, high = metrics.intervals.clopper_pearson(hit.sum(), len(hit))
        rows.append(
            Measurement(model=model, data=name, metric="right", value=float(hit.mean()), low=low,
                        high=high, n=len(hit), chance=1 / len(hit), at={"direction": way})
        )  # fmt: skip
    return rows
