"""Accuracies, rankings and scores by name against scikit-learn, definitions, and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from towers.metrics import (
    accuracy,
    eleven_point_map,
    intervals,
    mean_average_precision,
    mean_per_class,
    roc_auc,
    score,
    scores,
)
from towers.metrics.classification import eleven_point_average_precision

EXACT = 1e-12  # a few float64 additions of fractions in another order

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_accuracies_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size=60)
    given = rng.normal(size=(60, 5))
    predictions = given.argmax(axis=1)
    assert accuracy(predictions, labels) == pytest.approx(
        peer.accuracy_score(labels, predictions), abs=EXACT
    )
    assert mean_per_class(predictions == labels, labels) == pytest.approx(
        peer.recall_score(
            labels, predictions, average="macro", labels=np.unique(labels), zero_division=0
        ),
        abs=EXACT,
    )


@given(seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_rankings_equal_scikit_learn(seed, tied):
    rng = np.random.default_rng(seed)
    given = rng.integers(0, 4, size=(30, 3)) if tied else rng.normal(size=(30, 3))
    targets = rng.random((30, 3)) < 0.3
    targets[0], targets[1] = True, False
    assert mean_average_precision(given, targets) == pytest.approx(
        peer.average_precision_score(targets, given, average="macro"), abs=EXACT
    )
    assert roc_auc(given, targets) == pytest.approx(peer.roc_auc_score(targets, given), abs=EXACT)


def test_of_two_classes_the_margin_ranks():
    rng = np.random.default_rng(3)
    given, labels = rng.normal(size=(40, 2)), rng.integers(0, 2, 40)
    pairs = [
        np.sign(given[one, 1] - given[one, 0] - given[other, 1] + given[other, 0])
        for one in np.flatnonzero(labels == 1)
        for other in np.flatnonzero(labels == 0)
    ]
    assert roc_auc(given, np.eye(2)[labels]) == pytest.approx((np.mean(pairs) + 1) / 2, abs=EXACT)


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
    targets = np.array([[True], [False], [False], [True], [False]])
    for metric in (mean_average_precision, eleven_point_map):
        assert metric(targets.astype(float), targets) == 1
        assert metric(np.zeros((5, 1)), targets) == pytest.approx(2 / 5, abs=EXACT)
    assert roc_auc(targets.astype(float), targets) == 1
    assert roc_auc(np.zeros((5, 1)), targets) == 0.5


def test_infinite_scores_tie_like_others():
    targets = np.array([True, False])
    assert eleven_point_average_precision(np.array([np.inf, np.inf]), targets) == 0.5


def test_classes_count_alike_and_empty_ones_do_not_count():
    assert mean_per_class([1.0, 0.5, 0.0], [7, 7, 2]) == pytest.approx((0.75 + 0) / 2, abs=EXACT)
    targets = np.array([[True, False], [False, False]])
    for metric in (mean_average_precision, eleven_point_map, roc_auc):
        assert metric([[1.0, 0.0], [0.0, 1.0]], targets) == 1


class TestScoresByName:
    LABELS = np.array([0, 0, 0, 1, 2, 2])
    GIVEN = np.eye(3)[[0, 1, 0, 1, 2, 0]]

    def test_each_has_its_value_interval_and_chance(self):
        groups = np.array(list("aabbcc"))
        hits = np.array([1.0, 0, 1, 1, 1, 0])
        plain, per_class = (
            score(name, self.GIVEN, self.LABELS, groups=groups, seed=4)
            for name in ("accuracy", "mean_per_class_accuracy")
        )
        low, high = intervals.clopper_pearson(4, 6)
        expected = {"metric": "accuracy", "value": 4 / 6, "low": low, "high": high, "n": 6}
        assert plain == expected | {"chance": 1 / 3}
        assert (per_class["metric"], per_class["chance"]) == ("accuracy per class", 1 / 3)
        assert per_class["value"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
        ends = intervals.proportion_per_class(hits, self.LABELS, groups=groups, seed=4)
        assert (per_class["low"], per_class["high"]) == ends

    def test_several_draws_are_averaged_item_by_item(self):
        other = np.eye(3)[[0, 0, 0, 0, 2, 2]]
        both = score("accuracy", np.stack([self.GIVEN, other]), self.LABELS, seed=1)
        hits = np.array([1.0, 0.5, 1, 0.5, 1, 0.5])
        assert both["value"] == pytest.approx(hits.mean())
        assert (both["low"], both["high"]) == intervals.bootstrap(hits, seed=1)

    @pytest.mark.parametrize("name", scores.RANKINGS)
    @pytest.mark.slow
    def test_rankings_take_one_class_an_item_or_several(self, name):
        rng = np.random.default_rng(0)
        given, labels = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
        given[np.arange(50), labels] += 1
        one, several = (score(name, given, rows) for rows in (labels, np.eye(3, dtype=int)[labels]))
        assert one["value"] == pytest.approx(scores.RANKINGS[name][1](given, np.eye(3)[labels]))
        assert (one["value"], one["chance"]) == (several["value"], several["chance"])
        assert scores.value(name, given, labels) == one["value"]
        assert one["chance"] < one["low"] < one["value"] < one["high"]
        ends = intervals.bootstrap(
            np.arange(50.0),
            lambda rows: scores.value(name, given[rows.astype(int)], labels[rows.astype(int)]),
            strata=labels,
        )
        assert (one["low"], one["high"]) == ends  # each class keeps its number of items
        draws = score(name, np.stack([given, -given]), labels)
        other = scores.RANKINGS[name][1](-given, np.eye(3)[labels])
        assert draws["value"] == pytest.approx((one["value"] + other) / 2)

    def test_unknown_names_and_several_classes_of_an_accuracy_are_refused(self):
        with pytest.raises(ValueError, match="got 'luck'"):
            score("luck", self.GIVEN, self.LABELS)
        with pytest.raises(ValueError, match="one class an item for accuracy"):
            score("accuracy", self.GIVEN, np.eye(3, dtype=int)[self.LABELS])


@pytest.mark.parametrize(
    "call",
    [
        lambda: accuracy([], []),
        lambda: accuracy([1], [1, 2]),
        lambda: accuracy([np.nan], [1.0]),
        lambda: mean_per_class([np.nan, 1.0], [0, 0]),
        lambda: mean_average_precision([[np.nan]], [[True]]),
        lambda: mean_average_precision([[0.5]], [[False]]),
        lambda: mean_average_precision([[0.5]], [[2]]),
        lambda: mean_average_precision([[0.5], [0.2]], [[2], [1]]),
        lambda: mean_average_precision([[0.5], [np.nan]], [[True], [False]]),
        lambda: mean_average_precision([[0.5]], [[True, False]]),
        lambda: eleven_point_average_precision([np.nan], [True]),
        lambda: eleven_point_map([0.5], [True]),
        lambda: roc_auc([[0.5]], [[True]]),
        lambda: roc_auc([[0.5, 0.2], [0.3, 0.1]], [[1, 0], [1, 0]]),
    ],
)
def test_bad_input_is_one_line(call):
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        call()
    assert "\n" not in str(caught.value)
