"""What a policy takes, counted."""

import pytest

from towers import models
from towers.evaluation import effort
from towers.models import trainable

IMAGE = "scratch:vit?image=32&patch=16&width=16&depth=2&heads=2"
TEXT = "scratch:transformer?width=16&depth=2&heads=2&context=12&vocabulary=600"
LOG = [{"pairs_per_second": 10.0}, {"evaluation": {}}, {"pairs_per_second": 40.0},
       {"pairs_per_second": 20.0}]  # fmt: skip


@pytest.mark.parametrize("policy", ["everything", "layerwise+layer-norms", "projections"])
def test_numbers_are_those_of_the_pair_as_it_was_trained(policy):
    dual = trainable.apply(models.dual(IMAGE, TEXT, 8, seed=0), policy)
    expected = trainable.report(dual).iloc[-1]
    dual.requires_grad_(False).eval()
    found = effort.weigh(dual, LOG, data="x", batch=40, policy=policy, seed=3)
    rows = {row.metric: row for row in found}
    assert rows["parameters"].value == expected["parameters"]
    assert rows["parameters that move"].value == expected["trainable"]
    assert rows["share that moves"].value == expected["share"]
    held = 4 * (expected["parameters"] + 3 * expected["trainable"]) / 1e6
    assert rows["memory of weights and optimiser (MB)"].value == pytest.approx(held)
    assert rows["seconds per update"].value == 2.0
    assert rows["seconds per update"].n == 3
    assert {row.seed for row in rows.values()} == {3}
    assert not any(weight.requires_grad for weight in dual.parameters())


def test_a_log_without_updates_has_no_time():
    dual = models.dual(IMAGE, TEXT, 8, seed=0)
    rows = effort.weigh(dual, [], data="x", batch=4, policy="projections")
    assert "seconds per update" not in {row.metric for row in rows}


def test_duplicates_are_told_where_the_log_has_them():
    dual = models.dual(IMAGE, TEXT, 8, seed=0)
    log = [{"duplicates": 0}, {"evaluation": {}}, {"duplicates": 5}, {"duplicates": 1}]
    rows = {row.metric: row for row in effort.weigh(dual, log, data="x", batch=4)}
    assert (rows["duplicates per batch"].value, rows["duplicates per batch"].n) == (1.0, 3)
    rows = {row.metric for row in effort.weigh(dual, LOG, data="x", batch=4)}
    assert "duplicates per batch" not in rows


def test_what_both_towers_share_weighs_once():
    apart = models.dual(IMAGE, "scratch:pixels?image=32&patch=16&width=16&depth=2&heads=2", 8)
    shared = models.dual(IMAGE, "shared:pixels", 8)
    told = [effort.weigh(each, LOG, data="x", batch=4)[1].value for each in (apart, shared)]
    assert told[1] < told[0]
    assert told[1] == sum(each.numel() for each in shared.parameters())
