"""Times of updates in turns."""

import itertools
import math

import pytest
import torch
from scipy import stats

from towers import models, training
from towers.papers import turns

IMAGE = "scratch:vit?image=32&patch=16&width=16&depth=2&heads=2"
TEXT = "scratch:transformer?width=16&depth=2&heads=2&context=12&vocabulary=600"
RECIPE = training.Recipe(
    image=IMAGE, text=TEXT, data=("scenes:train?count=32&size=32&objects=1",), embed=8, steps=3,
    batch=8, warmup=1,
)  # fmt: skip
POLICIES = {"all": "everything", "LiT": "image=locked,text=everything", "none": "projections"}


def pair():
    return models.dual(IMAGE, TEXT, 8)


def by_metric(rows):
    return {(row.model, row.metric): row for row in rows}


def test_each_is_timed_beside_the_one_it_is_compared_with(monkeypatch):
    """Own 2, 6 and 8 s beside 4 each: ratios 1/2, 3/2 and 2, after a turn that does not count."""
    order, times = [], iter([900.0, 1.0, 2.0, 4.0, 6.0, 4.0, 8.0, 4.0] + [1.0, 900.0] + [3.0] * 6)

    def timed(loop, batches):
        order.append(sum(weight.requires_grad for weight in loop.module.parameters()))
        return next(times)

    monkeypatch.setattr(turns, "_timed", timed)
    found = by_metric(turns.compare(RECIPE, POLICIES, "all", turns=3, progress=False))
    all_move, lit, least = order[1], order[0], order[-2]
    assert least < lit < all_move
    assert order == [lit, all_move] * 4 + [least, all_move] * 4
    metric = "relative time of an update"
    assert {key[0] for key in found if key[1] == metric} == {"LiT", "none"}
    row, logs = found["LiT", metric], [math.log(ratio) for ratio in (0.5, 1.5, 2.0)]
    mean, error = sum(logs) / 3, stats.sem(logs)
    reach = stats.t.ppf(0.975, 2) * error
    assert row.value == pytest.approx(math.exp(mean))
    assert (row.low, row.high) == pytest.approx((math.exp(mean - reach), math.exp(mean + reach)))
    assert (row.n, row.at) == (3, {"over": "all"})
    assert (found["none", metric].value, found["none", metric].low) == (1.0, 1.0)
    seconds = {key[0]: (row.value, row.n) for key, row in found.items() if key[1] != metric}
    assert seconds == {"LiT": (6.0, 3), "none": (3.0, 3), "all": (3.5, 6)}


def test_real_updates_are_timed_and_each_policy_begins_anew(monkeypatch):
    made, real = [], turns.runs.pair
    monkeypatch.setattr(turns.runs, "pair", lambda recipe: made.append(real(recipe)) or made[-1])
    first = pair().state_dict()
    rows = turns.compare(RECIPE, POLICIES, "all", turns=2, progress=False)
    assert all(row.value > 0 and row.n in (2, 4) for row in rows)
    assert len(rows) == 5
    moved = [
        any(not torch.equal(first[k], v) for k, v in each.state_dict().items()) for each in made
    ]
    assert moved == [False] + [True] * 3  # the first one is only there to prepare the data


def test_longer_work_is_told_from_shorter(monkeypatch):
    """The clock itself: an update that waits between its beginning and its end."""
    now = itertools.count(step=0.25)
    monkeypatch.setattr(turns.time, "perf_counter", lambda: next(now))
    rows = by_metric(turns.compare(RECIPE, POLICIES, "all", turns=2, progress=False))
    assert rows["LiT", "seconds per update"].value == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"than": "some"}, "expected 'some' and others to compare with it, got all, LiT, none"),
        ({"policies": {"all": "everything"}}, "expected 'all' and others .* got all$"),
        ({"turns": 1}, "expected at least two turns, for an interval, got 1"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(change, message):
    given = {"policies": POLICIES, "than": "all"} | change
    with pytest.raises(ValueError, match=message):
        turns.compare(RECIPE, **given)
