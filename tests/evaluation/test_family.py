"""Tables of a family: measures beside their chance, and the hits behind them."""

from dataclasses import replace

import pytest

from tests import toy_towers
from towers import records
from towers.evaluation import family, retrieval, text_pairs, zero_shot


def record(model, seed, data, metric, value, chance, at):
    return records.Record(
        experiment="clippo/one_tower", scale="smoke", model=model, seed=seed, data=data,
        metric=metric, value=value, chance=chance, n=9, at=at,
    )  # fmt: skip


def test_each_measure_has_the_chance_of_its_own_run():
    recall = {"direction": "text retrieval", "language": "en", "k": 10}
    zero_shot = {"prompt": "sentences", "k": 1}
    rows = [
        record("a", 0, "d", "recall", 0.5, 0.1, recall),
        record("a", 1, "d", "recall", 0.7, 0.2, recall),
        record("a", 0, "d", "recall", 0.4, 0.1, recall | {"k": 5}),
        record("b", 0, "d", "accuracy", 0.3, 0.05, zero_shot),
        record("b", 0, "d", "accuracy", 0.6, 0.25, zero_shot | {"k": 5}),
        record("a", 0, "d2", "recall", 0.9, 0.1, recall),
        record("a", None, "d", "recall", 0.6, 0.1, recall | {"averaged": "seeds"}),
    ]
    found = family.measures(records.frame(rows), "d")
    assert found.chance.tolist() == [0.1, 0.2, 0.05]
    assert found.run.tolist() == ["seed 0", "seed 1", "seed 0"]
    assert found.measure.tolist() == ["I→T R@10", "I→T R@10", "zero-shot"]


def test_hits_average_to_the_records(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    toys = toy_towers.collection([(f"toy {name}",) for name in ("one", "two", "three", "four")])
    labels = ("toy 0", "toy 1", "toy 0", None)  # of three the guesses of half cannot be right
    items = [
        replace(each, targets={"class": own}) for each, own in zip(toys.items, labels, strict=True)
    ]
    toys = replace(toys, items=tuple(items), class_names=None)
    dual, pairs = toy_towers.dual(), [("an owl", "ein Eule"), ("two", "zwei"), ("a", "b")]
    templates = ["a {}"]
    how = {"dtype": "fp32"}
    expected = {
        (row.metric, row.at.get("direction", ""), row.at.get("prompt", ""), row.at.get("k")): row
        for row in (
            *retrieval.evaluate(dual, toys, ks=(10,), **how),
            *zero_shot.evaluate(dual, toys, {"sentences": templates}, **how),
            *text_pairs.evaluate(dual, pairs, name="x", **how),
        )
    }
    found = family.hits(dual, toys, templates, pairs, **how)
    told = found.fillna({"direction": "", "prompt": ""})
    means = told.groupby(["metric", "direction", "prompt", "k"]).hit.mean()
    assert len(means) == 4
    for key, value in means.items():
        assert value == pytest.approx(expected[key].value)
    assert set(family.hits(dual, toys, **how).direction) == {"text retrieval", "image retrieval"}
