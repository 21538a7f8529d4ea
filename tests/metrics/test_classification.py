"""Accuracies and average precision against scikit-learn, definitions, and impossible input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from towers.metrics import (
    accuracy,
    average_precision,
    balanced_accuracy,
    eleven_point_average_precision,
    eleven_point_map,
    mean_average_precision,
    mean_per_class,
    mean_per_class_accuracy,
    top_k_accuracy,
    top_k_hits,
)

EXACT = 1e-12  # a few float64 additions of fractions in another order

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_accuracies_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size=60)
    scores = rng.normal(size=(60, 5))
    predictions = scores.argmax(axis=1)
    assert accuracy(predictions, labels) == pytest.approx(
        peer.accuracy_score(labels, predictions), abs=EXACT
    )
    assert mean_per_class_accuracy(predictions, labels) == pytest.approx(
        peer.recall_score(
            labels, predictions, average="macro", labels=np.unique(labels), zero_division=0
        ),
        abs=EXACT,
    )
    for k in (1, 3):
        assert top_k_accuracy(scores, labels, k) == pytest.approx(
            peer.top_k_accuracy_score(labels, scores, k=k, labels=np.arange(5)), abs=EXACT
        )


@given(seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_scikit_learn(seed, tied):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, size=(30, 3)) if tied else rng.normal(size=(30, 3))
    targets = rng.random((30, 3)) < 0.3
    targets[0] = True
    assert average_precision(scores[:, 0], targets[:, 0]) == pytest.approx(
        peer.average_precision_score(targets[:, 0], scores[:, 0]), abs=EXACT
    )
    assert mean_average_precision(scores, targets) == pytest.approx(
        peer.average_precision_score(targets, scores, average="macro"), abs=EXACT
    )


def eleven_points_by_definition(scores, targets):
    points = []
    for tenth in range(11):
        reached = [
            targets[scores >= threshold].mean()
            for threshold in scores
            if 10 * targets[scores >= threshold].sum() >= tenth * targets.sum()
        ]
        points.append(max(reached))
    return sum(points) / 11


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_eleven_points_equal_their_definition(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, size=(25, 2)).astype(float)
    targets = rng.random((25, 2)) < 0.4
    targets[3] = True
    expected = [
        eleven_points_by_definition(*pair) for pair in zip(scores.T, targets.T, strict=True)
    ]
    assert eleven_point_average_precision(scores[:, 0], targets[:, 0]) == pytest.approx(
        expected[0], abs=EXACT
    )
    assert eleven_point_map(scores, targets) == pytest.approx(np.mean(expected), abs=EXACT)


def test_eleven_points_do_not_stumble_over_a_tenth():
    targets = np.array([1] * 3 + [0] * 2 + [1] * 7)  # recall 3 of 10 must reach the point 0.3
    scores = -np.arange(12.0)
    assert eleven_point_average_precision(scores, targets) == pytest.approx(
        (4 * 1 + 7 * 10 / 12) / 11, abs=EXACT
    )


def test_a_perfect_ranking_scores_one_and_a_constant_one_scores_prevalence():
    targets = np.array([True, False, False, True, False])
    for metric in (average_precision, eleven_point_average_precision):
        assert metric(targets.astype(float), targets) == 1
        assert metric(np.zeros(5), targets) == pytest.approx(2 / 5, abs=EXACT)


def test_infinite_scores_tie_like_others():
    targets = np.array([True, False])
    assert average_precision(np.array([np.inf, np.inf]), targets) == 0.5


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_constant_scores_measure_chance(k):
    labels = np.array([0, 1, 2, 2])
    assert top_k_accuracy(np.ones((4, 3)), labels, k) == pytest.approx(min(k, 3) / 3, abs=EXACT)


def test_ties_share_the_hit():
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    assert list(top_k_hits(scores, [0, 1])) == [0.5, 1.0]
    assert top_k_accuracy(scores, [0, 1]) == 0.75


def test_classes_count_alike_and_empty_ones_do_not_count():
    labels = np.array(["cat", "cat", "cat", "owl"])
    predictions = np.array(["cat", "cat", "owl", "elk"])
    assert mean_per_class_accuracy(predictions, labels) == pytest.approx((2 / 3 + 0) / 2, abs=EXACT)
    assert balanced_accuracy is mean_per_class_accuracy
    assert mean_per_class([1.0, 0.5, 0.0], [7, 7, 2]) == pytest.approx((0.75 + 0) / 2, abs=EXACT)
    targets = np.array([[True, False], [False, False]])
    assert mean_average_precision([[1.0, 0.0], [0.0, 1.0]], targets) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: accuracy([], []),
        lambda: accuracy([1], [1, 2]),
        lambda: accuracy([np.nan], [1.0]),
        lambda: mean_per_class([np.nan, 1.0], [0, 0]),
        lambda: top_k_accuracy([[0.0, np.nan]], [0]),
        lambda: top_k_accuracy([[0.0, 1.0]], [2]),
        lambda: top_k_accuracy([[0.0, 1.0]], [0], k=0),
        lambda: top_k_accuracy([[0.0, 1.0]], [[0]]),
        lambda: average_precision([np.nan], [True]),
        lambda: average_precision([0.5], [False]),
        lambda: average_precision([0.5, 0.2], [2, 1]),
        lambda: mean_average_precision([[0.5]], [[False]]),
        lambda: mean_average_precision([[0.5]], [[True, False]]),
        lambda: eleven_point_map([0.5], [True]),
    ],
)
def test_bad_input_is_one_line(call):
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        call()
    assert "\n" not in str(caught.value)
