"""The modality gap and distances of pairs, against closed forms."""

import numpy as np
import pytest

from towers.metrics import gap


def unit(rng, rows, axes):
    drawn = rng.normal(size=(rows, axes))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_the_gap_is_the_distance_of_the_means():
    images, texts = np.eye(3)[[0, 1]], np.eye(3)[[2, 2, 2]]
    assert gap.modality_gap(images, texts) == pytest.approx(np.sqrt(0.25 + 0.25 + 1))
    assert gap.modality_gap(images, images) == 0
    assert gap.modality_gap([[1, 0]], [[-1, 0]]) == 2


def test_distances_of_unit_vectors_follow_from_their_cosines():
    rng = np.random.default_rng(0)
    images, texts = unit(rng, 50, 8), unit(rng, 50, 8)
    cosines = (images * texts).sum(1)
    np.testing.assert_allclose(gap.pair_distances(images, texts), np.sqrt(2 - 2 * cosines))


def test_the_gap_is_never_above_the_mean_distance_of_pairs():
    """By the triangle inequality; a small gap does not mean that pairs are close."""
    rng = np.random.default_rng(1)
    images, texts = unit(rng, 30, 5), unit(rng, 30, 5)
    assert gap.modality_gap(images, texts) <= gap.pair_distances(images, texts).mean()
    assert gap.modality_gap(images, images[::-1]) < 1e-12


@pytest.mark.parametrize(
    ("images", "texts"),
    [([[1.0, 0]], [[1.0, 0, 0]]), ([], [[1.0]]), ([[1.0, np.nan]], [[1.0, 0]]), ([1.0], [1.0])],
)
def test_what_is_no_pair_of_embeddings_is_refused(images, texts):
    for function in (gap.modality_gap, gap.pair_distances):
        with pytest.raises(ValueError, match="expected"):
            function(images, texts)
