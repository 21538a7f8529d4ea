"""How far apart two modalities lie in the space that they share.

Source: Liang et al. 2022, section 4.2 ("Mind the gap"); Tschannen et al. 2023, appendix C.5.
"""

import numpy as np
from jaxtyping import Float


def modality_gap(
    images: Float[np.ndarray, "images embed"], texts: Float[np.ndarray, "texts embed"]
) -> float:
    """Euclidean distance of the two mean embeddings: 0 to 2 where embeddings have unit norm.

    Args:
        images: unit-norm embeddings.
        texts: unit-norm embeddings; they need not be as many.

    Raises:
        ValueError: one of them has no row, the axes differ, or a value is not finite.
    """
    images, texts = _checked(images), _checked(texts)
    if images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"expected embeddings of one space, got {images.shape[1]} and {texts.shape[1]} axes"
        )
    return float(np.linalg.norm(images.mean(0) - texts.mean(0)))


def pair_distances(
    images: Float[np.ndarray, "pairs embed"], texts: Float[np.ndarray, "pairs embed"]
) -> Float[np.ndarray, " pairs"]:
    """Euclidean distance of each image's embedding to that of its text: 0 to 2 at unit norm.

    Raises:
        ValueError: not as many images as texts, no row, or a value that is not finite.
    """
    images, texts = _checked(images), _checked(texts)
    if images.shape != texts.shape:
        raise ValueError(f"expected pairs of embeddings, got {images.shape} and {texts.shape}")
    return np.linalg.norm(images - texts, axis=1)


def _checked(embeds: np.ndarray) -> Float[np.ndarray, "rows embed"]:
    embeds = np.asarray(embeds, dtype=np.float64)
    if embeds.ndim != 2 or not len(embeds) or not np.isfinite(embeds).all():
        raise ValueError(f"expected finite embeddings as rows, got shape {embeds.shape}")
    return embeds
