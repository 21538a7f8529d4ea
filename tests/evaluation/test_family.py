"""Tables of a family: logs in stretches, measures beside their chance."""

from dataclasses import replace

import pandas as pd
import pytest

from tests import toy_towers
from towers.evaluation import family, retrieval, text_pairs, zero_shot


def log(losses, speed=10.0):
    return [
        {"step": step, "loss": loss, "pairs_per_second": speed + step}
        for step, loss in enumerate(losses, 1)
    ] + [{"step": len(losses), "evaluation": {}}]


def test_losses_are_averaged_over_equal_stretches():
    found = family.losses({("a", 0): log([4, 2, 3, 1]), ("b", 0): log([8, 8, 8, 8])}, 10, points=2)
    assert found.query("model == 'a'").loss.tolist() == [3, 2]
    assert found.query("model == 'b'").pairs.tolist() == [15, 35]


def test_each_measure_has_the_chance_of_its_own_run():
    recall, chance = "text retrieval R@10", "text retrieval chance R@10"
    rows = [
        ("a", 0, "d:en", recall, 0.5), ("a", 0, "d:en", chance, 0.1),
        ("a", 1, "d:en", recall, 0.7), ("a", 1, "d:en", chance, 0.2),
        ("b", 0, "d", "top-1 accuracy (sentences)", 0.3), ("b", 0, "d", "top-1 chance", 0.05),
        ("a", 0, "d2", recall, 0.9),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["model", "seed", "data", "metric", "value"])
    found = family.measures(frame, "d")
    assert found.chance.tolist() == [0.1, 0.2, 0.05]
    assert found.run.tolist() == ["seed 0", "seed 1", "seed 0"]
    table = family.table(found)
    assert table.loc["a", "I→T R@10"] == pytest.approx(0.6)
    assert list(table.columns) == ["I→T R@10", "zero-shot"]


def asked(metric, hits, groups=None):
    groups = groups or [str(row) for row in range(len(hits))]
    return pd.DataFrame({"metric": metric, "group": groups, "hit": hits})


def test_a_gain_is_paired():
    """Each is right in half of 40 queries, one of them in one more: sure, as all others agree."""
    base = [1.0, 0.0] * 20
    ahead = [1.0] * 8 + base[8:]
    (row,) = family.gains(asked("m", ahead), asked("m", base), model="a", over="b", name="d")
    assert (row.model, row.metric, row.n) == ("a", "m gain over b", 40)
    assert row.value == pytest.approx(0.1)
    assert 0 < row.low < row.high < 0.25  # two separate intervals would reach 0.1 +- 0.22
    (same,) = family.gains(asked("m", base), asked("m", base), model="a", over="b", name="d")
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_what_only_one_was_asked_has_no_gain_and_other_queries_are_refused():
    first, second = asked("m", [1.0, 0.0]), asked("m", [1.0, 1.0])
    more = pd.concat([first, asked("n", [1.0])])
    found = family.gains(more, second, model="a", over="b", name="d")
    assert [row.metric for row in found] == ["m gain over b"]
    with pytest.raises(ValueError, match="expected a and b on the same queries of m"):
        family.gains(first, asked("m", [1.0, 0.0], ["0", "2"]), model="a", over="b", name="d")


def test_hits_average_to_the_records(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))
    toys = toy_towers.collection([(f"toy {name}",) for name in ("one", "two", "three", "four")])
    labels = ("toy 0", "toy 1", "toy 0", None)  # of three the guesses of half cannot be right
    items = [replace(each, label=own) for each, own in zip(toys.items, labels, strict=True)]
    toys = replace(toys, items=tuple(items), class_names=None)
    dual, pairs = toy_towers.dual(), [("an owl", "ein Eule"), ("two", "zwei"), ("a", "b")]
    templates = ["a {}"]
    how = {"dtype": "fp32"}
    expected = {
        row.metric: row.value
        for row in (
            *retrieval.evaluate(dual, toys, ks=(10,), **how),
            *zero_shot.evaluate(dual, toys, {"sentences": templates}, **how),
            *text_pairs.evaluate(dual, pairs, name="x", **how),
        )
    }
    found = family.hits(dual, toys, templates, pairs, **how)
    means = found.groupby("metric").hit.mean()
    assert len(means) == 4
    for metric, value in means.items():
        assert value == pytest.approx(expected[metric])
    assert set(family.hits(dual, toys, **how).metric) == {
        "text retrieval R@10", "image retrieval R@10",
    }  # fmt: skip
