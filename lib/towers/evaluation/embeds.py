"""Unit-norm embeddings of a collection's pictures and of texts, through the feature cache."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float

from towers import data, models
from towers.models.features import Precision

ROWS = 8192  # features projected at a time


def check(model: object, *collections: object, ks: Sequence[int] = (1,)) -> None:
    """Refuse names in the place of models and collections, and a k that counts no candidate.

    Raises:
        ValueError: a model or collection is text, a number, a list or None; a k below 1, or none.
    """
    for given, call in ((model, "models.load"), *((part, "data.load") for part in collections)):
        if given is None or isinstance(given, str | int | float | list | tuple):
            raise ValueError(f"expected what {call} gives, got {given!r:.80}; load it first")
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"expected at least one k, each 1 or more; got {list(ks)}")


def of_images(
    dual: models.DualTower, collection: data.Collection, dtype: Precision | None
) -> Float[np.ndarray, "images embed"]:
    """One embedding per item; the image tower runs only where the cache has no answer."""
    features = models.features(dual.image, collection, dtype=dtype)
    return _projected(dual.embed_images, features)


def of_texts(
    dual: models.DualTower | models.TextTower, texts: Sequence[str], dtype: Precision | None
) -> Float[np.ndarray, "texts embed"]:
    """One embedding per text; equal texts get equal embeddings, whatever batch they come in.

    Of a text tower by itself the features are the embeddings, once they are of unit norm.
    """
    alone = isinstance(dual, models.TextTower)
    embed = partial(torch.nn.functional.normalize, dim=-1) if alone else dual.embed_texts
    distinct = sorted(set(texts))
    row = {text: index for index, text in enumerate(distinct)}
    features = models.features(dual if alone else dual.text, distinct, dtype=dtype)
    return _projected(embed, features)[[row[text] for text in texts]]


def _projected(embed, features: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        parts = torch.from_numpy(features).split(ROWS)
        return torch.cat([embed(part).cpu() for part in parts]).numpy()
