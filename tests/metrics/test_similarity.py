"""Representational similarity: what a rotation keeps, and noise does not."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from towers.metrics import intervals, representational_similarity


def test_it_is_one_for_a_rotation_and_none_for_noise():
    draws = np.random.default_rng(0)
    rows = draws.normal(size=(50, 6)) + 3
    turn, _ = np.linalg.qr(draws.normal(size=(6, 6)))
    value, ends = representational_similarity(rows @ turn * 2 + 1, rows)
    assert value == pytest.approx(1)
    assert ends == pytest.approx((1, 1))
    value, ends = representational_similarity(draws.normal(size=(50, 6)), rows)
    assert abs(value) < 0.1
    assert ends.low < 0 < ends.high


def test_it_is_the_correlation_of_all_cosines():
    draws = np.random.default_rng(1)
    first, second = draws.normal(size=(7, 4)), draws.normal(size=(7, 3))
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    cosines = []
    for rows in (first - first.mean(0), second - second.mean(0)):
        norms = np.linalg.norm(rows, axis=1)
        cosines.append([rows[i] @ rows[j] / norms[i] / norms[j] for i, j in pairs])
    found = representational_similarity(first, second)[0]
    assert found == pytest.approx(np.corrcoef(cosines)[0, 1])


def test_the_interval_is_that_of_the_pictures_without_pairs_of_a_picture_with_itself():
    draws = np.random.default_rng(2)
    first, second = draws.normal(size=(9, 4)), draws.normal(size=(9, 3))
    seen, wanted = (cosine_similarity(rows - rows.mean(0)) for rows in (first, second))

    def correlation(drawn):
        pairs = [(int(i), int(j)) for n, i in enumerate(drawn) for j in drawn[n + 1 :] if i != j]
        return np.corrcoef([(seen[pair], wanted[pair]) for pair in pairs], rowvar=False)[0, 1]

    expected = intervals.bootstrap(np.arange(9.0), correlation, n_resamples=500)
    # the same sums in another order
    assert representational_similarity(first, second)[1] == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # resamples of so few may all be alike
def test_three_pictures_are_enough_and_the_mean_picture_is_like_none():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 5.0]])
    assert representational_similarity(rows, rows)[0] == pytest.approx(1)
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    assert representational_similarity(rows, rows)[0] == pytest.approx(1)


@pytest.mark.parametrize("rows", [(2, 2), (5, 4)])
def test_too_few_or_other_pictures_are_refused(rows):
    first, second = (np.ones((count, 3)) for count in rows)
    with pytest.raises(ValueError, match="expected features of the same 3 or more pictures"):
        representational_similarity(first, second)
