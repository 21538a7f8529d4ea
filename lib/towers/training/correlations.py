"""Projections in closed form: the directions in which pictures and captions correlate most.

Canonical correlation analysis (Hotelling 1936) with a penalty on either side, as ridge regression
has one (Vinod 1976). Features of frozen towers come in, and no step of an optimiser is taken.
"""

import itertools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from towers import models
from towers.training.errors import TrainingError
from towers.training.samples import Joined, Lookup, Samples

POWER = 0.5
"""Each axis is as long as its correlation to this power, on both sides: half of it on either."""


class Map(NamedTuple):
    """An affine map of features: `features @ weight.T + bias`."""

    weight: Float[np.ndarray, "axes width"]
    bias: Float[np.ndarray, " axes"]


def correlate(
    images: Float[np.ndarray, "pairs image_width"],
    texts: Float[np.ndarray, "pairs text_width"],
    axes: int,
    penalties: tuple[float, float] = (0.0, 0.0),
    power: float = POWER,
) -> tuple[Map, Map, Float[np.ndarray, " axes"]]:
    """The maps of both sides into the space of their canonical variables.

    Features are standardised first, one by one. Then `penalties` are added to the diagonals of
    both correlation matrices R, and of R_ii^(-1/2) R_it R_tt^(-1/2) the `axes` largest singular
    values are taken.

    Args:
        images: features of pictures, one row a pair.
        texts: features of the captions.
        axes: of the shared space, at most the smaller width.
        penalties: of pictures and of texts, 0 or more; the larger, the less a direction counts in
            which features hardly vary.
        power: of its correlation, by which each axis is scaled on either side.

    Returns:
        The map of pictures, that of texts, and the correlations in descending order.

    Raises:
        ValueError: other rows on one side, too few of them, too many axes, a negative penalty, or
            no penalty where a matrix has no inverse.
    """
    if len(images) != len(texts) or len(images) < 2 or min(penalties) < 0:
        raise ValueError(
            f"expected two pairs or more, on both sides, and penalties of 0 or more, got "
            f"{len(images)} pictures, {len(texts)} texts and {penalties}"
        )
    most = min(images.shape[1], texts.shape[1])
    if not 0 < axes <= most:
        raise ValueError(f"expected 1 to {most} axes for these towers, got {axes}; lower embed")
    sides = [_standardised(side) for side in (images, texts)]
    roots = [_inverse_root(rows, p) for (rows, *_), p in zip(sides, penalties, strict=True)]
    cross = sides[0][0].T @ sides[1][0] / len(images)
    left, correlations, right = np.linalg.svd(roots[0] @ cross @ roots[1], full_matrices=False)
    maps = []
    for (_, mean, spread), root, vectors in zip(sides, roots, (left, right.T), strict=True):
        weight = (root @ vectors[:, :axes] * correlations[:axes] ** power / spread[:, None]).T
        maps.append(Map(weight, -weight @ mean))
    return *maps, correlations[:axes]


def _standardised(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features less their means over their standard deviations, and both; in float64."""
    features = np.asarray(features, np.float64)
    mean, spread = features.mean(0), features.std(0)
    spread[spread == 0] = 1
    return (features - mean) / spread, mean, spread


def _inverse_root(rows: np.ndarray, penalty: float) -> np.ndarray:
    """(R + penalty)^(-1/2) of the rows' correlation matrix R."""
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    values = values + penalty
    if values[0] <= len(values) * np.finfo(float).eps * values[-1]:
        raise ValueError(
            f"expected features that vary in {len(values)} independent ways, got fewer; give a "
            "penalty above 0, or more pairs"
        )
    return vectors / np.sqrt(values) @ vectors.T


@torch.no_grad()
def begin(
    dual: models.DualTower, source: Samples, read: Lookup, penalties: tuple[float, float]
) -> None:
    """Put a pair's projections where the features of all its data correlate most.

    Args:
        dual: whose projections have biases.
        source: of image-text pairs with features in the place of pictures; a picture with several
            captions is a pair with each.
        read: features of the captions.
        penalties: as for `correlate`.

    Raises:
        TrainingError: as `correlate`.
    """
    images, texts = [], []
    for part in source.parts if isinstance(source, Joined) else [source]:
        captions = [part.texts(row) for row in range(len(part))]
        images.append(np.repeat(part.features, [len(each) for each in captions], axis=0))
        texts += itertools.chain(*captions)
    try:
        found = correlate(np.concatenate(images), read(texts).numpy(), dual.embed, penalties)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    for projection, (weight, bias) in zip((dual.image_proj, dual.text_proj), found, strict=False):
        projection.weight.copy_(torch.from_numpy(weight))
        projection.bias.copy_(torch.from_numpy(bias))
