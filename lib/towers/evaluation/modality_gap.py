"""Where pictures and texts lie in the space that they share: gap, distances, principal components.

Source: Liang et al. 2022, section 4.2; Tschannen et al. 2023, section 4.6, appendices C.5 and C.6.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from sklearn.decomposition import PCA
from torch import nn

from towers import data, metrics, models
from towers.evaluation import embeds
from towers.metrics import gap
from towers.models.features import Precision
from towers.records import Measurement

DRAWS = 1000
"""Resampled sets of pairs behind each interval of the gap."""


def embedded(
    dual: models.DualTower,
    collection: data.Collection,
    language: str = "en",
    dtype: Precision | None = None,
) -> tuple[Float[np.ndarray, "pairs embed"], Float[np.ndarray, "pairs embed"]]:
    """Unit-norm embeddings of pictures and of their first captions, row by row.

    Args:
        dual: both towers' features are cached.
        collection: pictures without a caption in `language` are left out.
        language: of the captions.
        dtype: in which the towers compute features, as for `models.features`.

    Raises:
        ValueError: no picture has such a caption.
    """
    captions = collection.captions(language)
    rows = [row for row, texts in enumerate(captions) if texts]
    if not rows:
        raise ValueError(
            f"expected captions in {language!r} in {collection.name}, got none; it has "
            f"{sorted(collection.languages())}"
        )
    pictures = embeds.of_images(dual, collection, dtype)[rows]
    return pictures, embeds.of_texts(dual, [captions[row][0] for row in rows], dtype)


def evaluate(
    images: Float[np.ndarray, "pairs embed"],
    texts: Float[np.ndarray, "pairs embed"],
    *,
    model: str,
    name: str,
    seed: int = 0,
) -> list[Measurement]:
    """The gap between the modalities, and how far pairs and strangers are apart.

    Args:
        images: unit-norm embeddings of pictures.
        texts: unit-norm embeddings of their captions.
        model: name of the pair.
        name: of the data.
        seed: of the pair's run; the bootstraps have it too.

    Returns:
        "modality gap", "distance of pairs" and "distance of strangers" (each picture with the next
        one's caption), all Euclidean, with 95 % bootstrap intervals over pairs. The gap itself is
        biased upwards, as a length cannot be negative: two samples of n from one distribution lie
        about the square root of their variances' sum over n apart. Its interval allows for that
        and may have the gap as its upper end.
    """
    apart = gap.pair_distances(images, texts)
    others = gap.pair_distances(images, np.roll(texts, -1, axis=0))
    measured = {
        "modality gap": (gap.modality_gap(images, texts), _gap_ends(images, texts, seed)),
        "distance of pairs": (apart.mean(), metrics.intervals.bootstrap(apart, seed=seed)),
        "distance of strangers": (others.mean(), metrics.intervals.bootstrap(others, seed=seed)),
    }
    return [
        Measurement(
            model=model, data=name, metric=metric, value=float(value), low=float(low),
            high=float(high), n=len(images), seed=seed,
        )
        for metric, (value, (low, high)) in measured.items()
    ]  # fmt: skip


def _gap_ends(
    images: Float[np.ndarray, "pairs embed"], texts: Float[np.ndarray, "pairs embed"], seed: int
) -> metrics.intervals.Interval:
    """Basic bootstrap interval of the gap's square, whose bias it mirrors away, as lengths.

    It begins at 0 at the lowest, and is widened to hold the gap.

    Source: Davison and Hinkley 1997, section 5.2.1.
    """
    drawn = np.random.default_rng(seed).integers(len(images), size=(DRAWS, len(images)))
    real = gap.modality_gap(images, texts)
    squares = [gap.modality_gap(images[rows], texts[rows]) ** 2 for rows in drawn]
    mirrored = 2 * real**2 - np.quantile(squares, [0.975, 0.025])
    low, high = np.sqrt(np.maximum(0, mirrored))
    return metrics.intervals.Interval(min(float(low), real), max(float(high), real))


def projected(
    images: Float[np.ndarray, "pairs embed"], texts: Float[np.ndarray, "pairs embed"]
) -> pd.DataFrame:
    """Both modalities on the first two principal components of all embeddings together.

    Returns:
        Columns x, y and modality ("pictures", "captions"), pictures first.
    """
    places = PCA(2, svd_solver="full").fit_transform(np.concatenate([images, texts]))
    modality = np.repeat(["pictures", "captions"], [len(images), len(texts)])
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "modality": modality})


def patch_components(
    network: nn.Module, count: int = 30
) -> tuple[list[Image.Image], Float[np.ndarray, " count"]]:
    """Principal components of a patch embedding, as pictures, and the variance each explains.

    The embedding's rows, one a unit, are centred; components are scaled to their largest weight,
    which is white or black where grey is zero.

    Args:
        network: with a `patch_embed.proj` convolution, as timm's Vision Transformers have it.
        count: how many, at most as many as there are units or weights of one.

    Raises:
        ValueError: the network embeds no patches.
    """
    fitted, shape = _components(network, count)
    shown = fitted.components_.reshape(-1, *shape).transpose(0, 2, 3, 1)
    shown = shown / np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    pixels = np.rint(127.5 + 127.5 * shown).astype(np.uint8)
    return [Image.fromarray(picture) for picture in pixels], fitted.explained_variance_ratio_


def texture(network: nn.Module, *, model: str, seed: int, count: int = 3) -> list[Measurement]:
    """Which way the leading components of a patch embedding run, and how fine they are.

    A component has unit norm; its squared differences from row to row, and from column to column,
    are summed, and averaged over the leading components with their shares of the variance.

    Args:
        network: as for `patch_components`.
        model: name of the pair.
        seed: of its run.
        count: leading components.

    Returns:
        "stripes", differences between rows over those between columns: 1 without a direction, more
        where there are horizontal stripes; "roughness", the mean of both: 2 for noise in which
        neighbours have nothing in common, 0 for even colours.

    Raises:
        ValueError: the network embeds no patches.
    """
    fitted, shape = _components(network, count)
    shown, shares = fitted.components_.reshape(-1, *shape), fitted.explained_variance_
    rows, columns = (
        float(((np.diff(shown, axis=axis) ** 2).sum((1, 2, 3)) * shares).sum() / shares.sum())
        for axis in (2, 3)
    )
    shared = {"model": model, "data": "patch embedding", "n": len(shown), "seed": seed}
    return [
        Measurement(metric="stripes", value=rows / columns, **shared),
        Measurement(metric="roughness", value=(rows + columns) / 2, **shared),
    ]


def _components(network: nn.Module, count: int) -> tuple[PCA, tuple[int, ...]]:
    """Principal components of a patch embedding, and their axes: channels, rows, columns."""
    embedding = getattr(network, "patch_embed", None)
    if not isinstance(getattr(embedding, "proj", None), nn.Conv2d):
        raise ValueError(f"expected a network with a patch embedding, got {type(network).__name__}")
    with torch.no_grad():
        kernels = embedding.proj.weight.double().cpu().numpy()  # (width, 3, patch, patch)
    flat = kernels.reshape(len(kernels), -1)
    return PCA(min(count, *flat.shape), svd_solver="full").fit(flat), kernels.shape[1:]
