"""Few-shot ridge regression: against the closed form of the authors' code, and on toys."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tests import toy_towers
from towers import models
from towers.evaluation import few_shot
from towers.metrics import intervals


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def labelled(*labels):
    """Pictures whose classes are numbered in the order of the labels."""
    return toy_towers.collection([()] * len(labels), labels=labels)


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
    found = few_shot.predict(rows, labels, asked, 4, penalty).argmax(1)
    np.testing.assert_array_equal(found, closed_form(rows, labels, asked, 4, penalty))
    assert len(np.unique(found)) > 1


def test_what_is_solved_has_the_authors_constants(monkeypatch):
    """Not seen in the classes that win: penalty, bias, targets, and what keeps scales above 0."""
    seen = []

    class Watched(Ridge):
        def fit(self, rows, targets):
            seen.append((self.alpha, self.fit_intercept, rows, targets))
            return super().fit(rows, targets)

    monkeypatch.setattr(few_shot, "Ridge", Watched)
    shots = np.random.default_rng(0).normal(size=(6, 3)) * [1.0, 1e-5, 1e-6]
    few_shot.predict(shots, np.array([0, 1, 2, 0, 1, 2]), shots, 3)
    ((penalty, intercept, rows, targets),) = seen
    assert (penalty, intercept) == (1024.0, False)
    np.testing.assert_allclose(rows[:, :3], (shots - shots.mean(0)) / (shots.std(0) + 1e-5))
    assert (rows[:, 3:] == 100.0).all()
    assert rows.shape == (6, 4)
    assert targets.tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]] * 2


def test_scale_and_place_of_a_feature_do_not_matter():
    rng = np.random.default_rng(2)
    rows, asked = rng.normal(size=(30, 5)), rng.normal(size=(100, 5))
    labels = rng.integers(3, size=30)
    moved = few_shot.predict(rows * 50 + 7, labels, asked * 50 + 7, 3).argmax(1)
    np.testing.assert_array_equal(few_shot.predict(rows, labels, asked, 3).argmax(1), moved)


def test_a_feature_without_variance_does_no_harm():
    rows = np.c_[np.r_[-np.ones(5), np.ones(5)], np.zeros(10)]
    labels = np.repeat([0, 1], 5)
    np.testing.assert_array_equal(few_shot.predict(rows, labels, rows, 2).argmax(1), labels)


def test_a_draw_takes_so_many_of_each_class_and_another_draw_others():
    labels = np.array([0] * 9 + [1] * 9 + [-1] * 4 + [2] * 2)
    first = few_shot.drawn(labels, 3, seed=0, draw=0)
    assert sorted(labels[first]) == [0] * 3 + [1] * 3 + [2] * 2
    assert len(set(first)) == len(first)
    assert set(first) != set(few_shot.drawn(labels, 3, seed=0, draw=1))
    assert set(first) != set(few_shot.drawn(labels, 3, seed=1, draw=0))
    np.testing.assert_array_equal(first, few_shot.drawn(labels, 3, seed=0, draw=0))


TRAIN = ["cat"] * 6 + ["owl", "sea"] * 3 + [None]
TEST = ["cat", "owl", None, "sea", "owl", "cat", "sea", "cat", None]


def test_accuracies_are_means_over_draws_of_labelled_pictures():
    dual, train, test = toy_towers.dual(), labelled(*TRAIN), labelled(*TEST)
    assert train.classes == test.classes
    assert train.labels.tolist().count(0) == 6  # the largest class is the first one
    options = {"draws": 4, "seed": 5, "dtype": "fp32"}
    rows = few_shot.evaluate(dual, train, test, shots=(1, 2, 6, 7), **options)
    assert {(row.metric, row.chance) for row in rows} == {("accuracy", 1 / 3)}
    assert [row.at for row in rows] == [{"shots": number} for number in (1, 2, 6)]
    kept = test.labels >= 0
    known, asked = (models.features(dual.image, part, dtype="fp32") for part in (train, test))
    for row, number in zip(rows, (1, 2, 6), strict=True):
        hits = []
        for draw in range(4):
            chosen = few_shot.drawn(train.labels, number, 5, draw)
            found = closed_form(
                known[chosen].astype(float), train.labels[chosen], asked[kept].astype(float), 3,
                1024.0,
            )  # fmt: skip
            hits.append(found == test.labels[kept])
        mean = np.mean(hits, axis=0)
        assert row.value == pytest.approx(mean.mean())
        low, high = intervals.bootstrap(mean, groups=test.groups[kept])
        assert (row.low, row.high) == (low, high)
        assert (row.model, row.data, row.n, row.seed) == ("toy", "toys", 7, 5)


def test_defaults_are_three_draws_of_four_numbers():
    dual, train = toy_towers.dual(), labelled(*["cat", "owl"] * 25)
    test = labelled(*["cat", "owl"] * 13)
    given = few_shot.evaluate(dual, train, test, dtype="fp32")
    assert [row.at["shots"] for row in given] == [1, 5, 10, 25]
    asked = {"shots": (1, 5, 10, 25), "dtype": "fp32"}
    assert given == few_shot.evaluate(dual, train, test, draws=3, seed=0, **asked)
    assert given != few_shot.evaluate(dual, train, test, draws=4, seed=0, **asked)


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [(("cat", "owl"), ("cat", "sea"), "^expected the same classes in both parts, got"),
     ((None,), (None,), "at least two classes in toys, got 0 with a label"),
     (("cat", "owl"), (None,), "at least two classes in toys, got 0 with a label"),
     (("cat", "cat", None), ("cat", "cat", None), r"got 2 with a label and 1 classes \['cat'\]")],
)  # fmt: skip
def test_other_classes_or_one_or_none_are_refused(train, test, said):
    with pytest.raises(ValueError, match=said):
        few_shot.evaluate(toy_towers.dual(), labelled(*train), labelled(*test))
