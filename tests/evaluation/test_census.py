"""Counting a collection, by hand."""

import dataclasses

import pytest

from tests import toy_towers
from towers.data.items import Collection
from towers.data.reports import Report
from towers.evaluation import census
from towers.metrics import intervals


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOWERS_HOME", str(tmp_path))


def toys(captions, dropped=None, name="toys") -> Collection:
    """A collection whose loading dropped something."""
    made = toy_towers.collection(captions, name=name)
    return Collection(name, made.items, Report(len(made), dropped or {}))


def values(measurements) -> dict:
    """Metric -> measurement."""
    return {m.metric: m for m in measurements}


def test_counts_are_those_made_by_hand():
    captions = [{"en": ("a red owl", "owl"), "fr": ("hibou",)}, {"en": ("sea",)}, {}]
    found = values(census.evaluate(toys(captions, {"blank": 1})))
    assert found["candidates"].value == 4
    assert found["items"].value == 3
    assert found["languages"].value == 2
    assert found["captions per item"].value == pytest.approx(4 / 3)
    assert found["words per caption"].value == pytest.approx(5 / 3)
    row = found["dropped"]
    assert (row.at, row.value) == ({"reason": "blank"}, 1 / 4)
    assert row.low < 1 / 4 < row.high


def test_intervals_take_neither_captions_nor_near_duplicates_for_independent():
    made = toys([("one", "a b"), ("a b c",), (), ("a b c d",)])
    items = [
        dataclasses.replace(item, group="twins" if number > 1 else None)
        for number, item in enumerate(made)
    ]
    found = values(census.evaluate(dataclasses.replace(made, items=tuple(items)), seed=4))
    row = found["words per caption"]
    expected = intervals.bootstrap([1, 2, 3, 4], groups=[0, 0, 1, 2], seed=4)
    assert (row.low, row.high, row.n) == (*expected, 4)
    row = found["captions per item"]
    assert (row.low, row.high) == intervals.bootstrap([2, 1, 0, 1], groups=[0, 1, 2, 2], seed=4)


def test_overlap_counts_pictures_and_words_in_both_directions():
    first = toys([("An owl.",), ("the sea",), ("tea",)], name="first")
    second = toys([("an OWL",), ("coal",)], name="second")
    found = {
        (m.data, m.at["within"], m.metric): m.value for m in census.overlaps([first, second], 0)
    }
    # toy pictures are numbered: the first two of each collection are the same
    assert found["first", "second", "near-duplicate pictures"] == pytest.approx(2 / 3)
    assert found["second", "first", "near-duplicate pictures"] == 1
    assert found["first", "second", "identical captions"] == pytest.approx(1 / 3)
    assert found["second", "first", "identical captions"] == 1 / 2
