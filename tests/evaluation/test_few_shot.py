"""Few-shot ridge regression: against the closed form of the authors' code, and on toys."""

import numpy as np
import pytest

from towers.evaluation import few_shot


def closed_form(shots, labels, asked, classes, penalty):
    """(X^T X + penalty I)^-1 X^T Y by an explicit inverse, in float64."""
    mean, scale = shots.mean(0), shots.std(0) + 1e-5
    rows = np.c_[(shots - mean) / scale, np.full(len(shots), 100.0)]
    queries = np.c_[(asked - mean) / scale, np.full(len(asked), 100.0)]
    targets = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    weights = np.linalg.inv(rows.T @ rows + penalty * np.eye(rows.shape[1])) @ rows.T @ targets
    return (queries @ weights).argmax(1)


@pytest.mark.parametrize(("shots", "width"), [(40, 6), (12, 30)], ids=["more rows", "more axes"])
@pytest.mark.parametrize("penalty", [1.0, 2.0**10])
def test_it_is_the_closed_form(shots, width, penalty):
    rng = np.random.default_rng(shots)
    rows, asked = rng.normal(size=(shots, width)) + 3, rng.normal(size=(200, width)) + 3
    labels = np.arange(shots) % 4
    found = few_shot.predict(rows, labels, asked, 4, penalty)
    np.testing.assert_array_equal(found, closed_form(rows, labels, asked, 4, penalty))
    assert len(np.unique(found)) > 1


def test_scale_and_place_of_a_feature_do_not_matter():
    rng = np.random.default_rng(2)
    rows, asked = rng.normal(size=(30, 5)), rng.normal(size=(100, 5))
    labels = rng.integers(3, size=30)
    moved = few_shot.predict(rows * 50 + 7, labels, asked * 50 + 7, 3)
    np.testing.assert_array_equal(few_shot.predict(rows, labels, asked, 3), moved)


def test_a_feature_without_variance_does_no_harm():
    rows = np.c_[np.r_[-np.ones(5), np.ones(5)], np.zeros(10)]
    labels = np.repeat([0, 1], 5)
    np.testing.assert_array_equal(few_shot.predict(rows, labels, rows, 2), labels)


def test_a_draw_takes_so_many_of_each_class_and_another_draw_others():
    labels = np.array([0] * 9 + [1] * 9 + [-1] * 4 + [2] * 2)
    first = few_shot.drawn(labels, 3, seed=0, draw=0)
    assert sorted(labels[first]) == [0] * 3 + [1] * 3 + [2] * 2
    assert len(set(first)) == len(first)
    assert set(first) != set(few_shot.drawn(labels, 3, seed=0, draw=1))
    assert set(first) != set(few_shot.drawn(labels, 3, seed=1, draw=0))
    np.testing.assert_array_equal(first, few_shot.drawn(labels, 3, seed=0, draw=0))
