"""What notebooks draw from: galleries as rows, and a linear probe."""

from dataclasses import replace

import numpy as np
import pytest

from tests import toy_towers
from towers.evaluation import linear_probe, retrieval, zero_shot

PROMPTS = {"class name": ["{}"], "ensemble": ["{}", "a photo of a {}."]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def test_guesses_are_the_most_probable_classes_best_first():
    toys = toy_towers.collection([()] * 4, labels=["owl", "cat", "sea", "owl"])
    dual = toy_towers.dual()
    shares = zero_shot.predict(dual, toys, toys.classes, ["{}"])
    for row, guess in zip(shares, zero_shot.guesses(dual, toys, ["{}"], k=2), strict=True):
        assert [name for name, _ in guess] == [toys.classes[i] for i in np.argsort(-row)[:2]]
        assert [share for _, share in guess] == sorted(row, reverse=True)[:2]


def test_a_gallery_of_guesses_is_listed_guess_by_guess():
    toys = toy_towers.collection([()] * 2, labels=["owl", "cat"])
    guessed = zero_shot.guesses(toy_towers.dual(), toys, ["{}"], k=2)
    rows = zero_shot.listed([toys], [guessed])
    assert list(rows["rank"]) == [1, 2, 1, 2]
    assert list(rows.label) == ["owl", "owl", "cat", "cat"]
    assert list(zip(rows.guess, rows.probability, strict=True)) == [*guessed[0], *guessed[1]]


def test_a_gallery_of_neighbours_is_listed_neighbour_by_neighbour():
    toys = toy_towers.collection([{"en": (f"toy {n}",)} for n in range(5)])
    found = retrieval.neighbours(toy_towers.dual(), toys, queries=2, k=3)
    rows = retrieval.listed(found, toys)
    assert list(rows["rank"]) == [1, 2, 3] * 2
    assert list(rows["query"]) == [one.text for one in found for _ in range(3)]
    assert list(rows.name) == [toys[item].name for one in found for item in one.items]
    assert list(rows.right) == [right for one in found for right in one.right]


def test_a_linear_probe_learns_what_is_linear():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 240)
    features = random.normal(size=(240, 8)) + 4 * np.eye(8)[labels]
    fitted = linear_probe.fit(features[:100], labels[:100], features[100:140], labels[100:140])
    assert (fitted.predict(features[140:]) == labels[140:]).mean() > 0.95


def test_the_penalty_is_the_one_that_validates_best():
    random = np.random.default_rng(1)
    features, labels = random.normal(size=(60, 40)), random.integers(0, 2, 60)
    signal = np.where(labels == 1, 1.5, -1.5)
    features[:, 0] += signal
    parts = features[:30], labels[:30], features[30:], labels[30:]
    strong = linear_probe.fit(*parts, strengths=(1e6, 1e6))
    chosen = linear_probe.fit(*parts, strengths=(1e6, 1e-2))
    assert np.abs(strong.coef_).max() < 1e-3  # 1e6 leaves the weights at nothing
    assert np.abs(chosen.coef_).max() > 1e-2


def test_the_penalty_stands_beside_the_mean_loss():
    random = np.random.default_rng(2)
    rows, labels = random.normal(size=(90, 4)), random.integers(0, 3, 90)
    strength = 0.05
    fitted = linear_probe.fit(rows[:60], labels[:60], rows[60:], labels[60:], (strength, strength))
    errors = fitted.predict_proba(rows) - np.eye(3)[labels]
    # at the minimum the gradients cancel, as far as L-BFGS goes by default
    np.testing.assert_allclose(errors.T @ rows / 90, -strength * fitted.coef_, atol=1e-4)
    np.testing.assert_allclose(errors.mean(axis=0), 0, atol=1e-4)
    assert np.abs(strength * fitted.coef_).max() > 1e-2


def test_a_linear_probe_needs_two_classes():
    with pytest.raises(ValueError, match="at least two classes"):
        linear_probe.fit(np.zeros((3, 2)), np.zeros(3, int), np.zeros((0, 2)), np.zeros(0, int))


def test_a_probe_is_scored_by_the_metric_of_the_card(monkeypatch):
    toys = toy_towers.collection([()] * 40, labels=["owl", "cat", "cat", "sea"] * 10)
    train, test = toys[:30], toys[30:]
    image = toy_towers.dual().image
    (plain,) = linear_probe.evaluate(image, train, test)
    assert (plain.metric, plain.n, plain.chance) == ("accuracy", 10, 1 / 3)
    assert plain.at == {"classifier": "supervised", "k": 1}
    monkeypatch.setattr(zero_shot, "metric", lambda _: "mean_per_class_accuracy")
    (row,) = linear_probe.evaluate(image, train, test)
    assert (row.metric, row.at) == ("accuracy per class", {"classifier": "supervised"})
    monkeypatch.setattr(zero_shot, "metric", lambda _: "roc_auc")
    (ranked,) = linear_probe.evaluate(image, train, test)
    assert (ranked.metric, ranked.chance) == ("ROC AUC", 0.5)


@pytest.mark.slow
def test_of_items_with_several_classes_each_is_learnt_for_itself(monkeypatch):
    made = toy_towers.collection([()] * 40)
    kinds = [("a",), ("a", "b"), (), ("b", "c")] * 10
    items = [
        replace(item, targets={"classes": names}) for item, names in zip(made, kinds, strict=True)
    ]
    toys = replace(made, items=tuple(items), class_names=("a", "b", "c"))
    monkeypatch.setattr(zero_shot, "metric", lambda _: "eleven_point_map")
    dual = toy_towers.dual()
    probe, *rows = [
        *linear_probe.evaluate(dual.image, toys[:30], toys[30:]),
        *zero_shot.evaluate(dual, toys[30:], PROMPTS),
    ]
    assert [row.at["prompt"] for row in rows] == list(PROMPTS)
    _, member = zero_shot.truth(toys[30:])
    assert member.tolist() == [[name in names for name in "abc"] for names in kinds[30:]]
    for row in (probe, *rows):
        assert (row.metric, row.n) == ("11-point mAP", 10)
        assert row.chance == pytest.approx(member.mean(0).mean())
        assert row.low <= row.value <= row.high


def test_a_probe_refuses_parts_of_different_classes():
    train = toy_towers.collection([()] * 4, labels=["owl", "cat"] * 2)
    test = toy_towers.collection([()] * 4, labels=["owl", "dog"] * 2)
    with pytest.raises(ValueError, match="the same classes"):
        linear_probe.evaluate(toy_towers.image_tower(), train, test)
