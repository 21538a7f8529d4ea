"""Two models on the same queries and one over its seeds: formulas, and what is refused."""

import math
from dataclasses import replace
from itertools import starmap

import numpy as np
import pandas as pd
import pytest

from towers import metrics
from towers.evaluation import comparisons
from towers.metrics import intervals
from towers.records import Measurement

QUANTILE = 4.30265272991  # of Student with two degrees of freedom, at 97.5 %


def row(seed, value, metric="R@1", model="ours", data="toys"):
    return Measurement(model=model, data=data, metric=metric, value=value, n=7, seed=seed)


def test_the_mean_has_students_interval_over_seeds():
    rows = list(starmap(row, [(0, 0.1), (1, 0.2), (2, 0.6)]))
    (mean,) = comparisons.over_seeds(rows, ["R@1"])
    reach = QUANTILE * math.sqrt((0.2**2 + 0.1**2 + 0.3**2) / 2 / 3)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.3, 0.3 - reach, 0.3 + reach))
    assert (mean.model, mean.data, mean.metric) == ("ours", "toys", "R@1")
    assert (mean.n, mean.seed, mean.at) == (3, None, {"averaged": "seeds"})


def test_half_and_twice_give_one():
    rows = list(starmap(row, [(0, 0.5), (1, 1), (2, 2)]))
    (mean,) = comparisons.over_seeds(rows, ["R@1"], geometric=True)
    reach = QUANTILE * math.log(2) / math.sqrt(3)
    assert (mean.value, mean.low, mean.high) == pytest.approx(
        (1, math.exp(-reach), math.exp(reach))
    )
    assert (mean.metric, mean.at) == ("R@1", {"averaged": "seeds, geometrically"})


def test_models_data_and_metrics_stand_apart_and_others_stay_out():
    rows = [
        row(seed, 0.5, *other)
        for seed in (0, 1)
        for other in [("R@1",), ("R@5",), ("R@9",), ("R@1", "theirs"), ("R@1", "ours", "new")]
    ]
    rows.append(row(None, 0.9))
    means = comparisons.over_seeds(rows, ["R@1", "R@5"])
    assert {(mean.model, mean.data, mean.metric, mean.value) for mean in means} == {
        ("ours", "toys", "R@1", 0.5), ("ours", "toys", "R@5", 0.5),
        ("theirs", "toys", "R@1", 0.5), ("ours", "new", "R@1", 0.5),
    }  # fmt: skip


def test_what_a_seed_lacks_has_no_mean_nor_has_a_single_seed():
    rows = [row(0, 0.5), row(1, 0.5), row(2, 0.5, "R@5"), row(0, 0.5, model="alone")]
    assert comparisons.over_seeds(rows, ["R@1", "R@5"]) == []


def test_ratios_of_zero_are_refused_in_a_line():
    rows = [row(0, 0.0), row(1, 1.0)]
    with pytest.raises(ValueError, match="expected values above zero of 'R@1' for a geometric"):
        comparisons.over_seeds(rows, ["R@1"], geometric=True)


def test_conditions_stand_apart_and_chance_is_averaged_where_all_have_it():
    rows = [
        replace(row(seed, 0.5), at={"k": k}, chance=level)
        for k in (1, 5)
        for seed, level in ((0, 0.1), (1, 0.3))
    ]
    first, second = comparisons.over_seeds(rows, ["R@1"])
    assert (first.at, second.at) == ({"k": 1, "averaged": "seeds"}, {"k": 5, "averaged": "seeds"})
    assert first.chance == pytest.approx(0.2)
    (mean,) = comparisons.over_seeds([rows[0], replace(rows[1], chance=None)], ["R@1"])
    assert mean.chance is None


SEEDS = {
    ("a", "easy"): [0.9, 0.8, 0.7], ("b", "easy"): [0.8, 0.7, 0.6],
    ("a", "hard"): [0.1, 0.3, 0.2], ("b", "hard"): [0.2, 0.2, 0.21],
    ("c", "hard"): [0.0, 0.0, 0.0], ("a", "alone"): [0.5, 0.5, 0.5],
}  # fmt: skip


def of_seeds():
    return [
        replace(row(seed, value, "m", model, data), at={"k": 1})
        for (model, data), values in SEEDS.items()
        for seed, value in enumerate(values)
    ]


def test_gains_over_seeds_are_paired_by_seed():
    rows = comparisons.gains_over_seeds(of_seeds(), "a", "b", ["m"])
    assert [(row.data, row.metric) for row in rows] == [
        ("easy", "m gain"), ("hard", "m gain"), ("all", "average gain"),
    ]  # fmt: skip
    easy, hard, whole = rows
    # the seeds scatter, the differences do not
    assert (easy.value, easy.low, easy.high) == pytest.approx((0.1, 0.1, 0.1))
    assert easy.at == {"k": 1, "over": "b", "averaged": "seeds"}
    assert hard.low < 0 < hard.high
    assert hard.value == pytest.approx((-0.1 + 0.1 - 0.01) / 3)
    each = np.array([(0.1 - 0.1) / 2, (0.1 + 0.1) / 2, (0.1 - 0.01) / 2])
    assert (whole.model, whole.at, whole.n) == ("a", {"over": "b", "averaged": "seeds"}, 3)
    assert whole.value == pytest.approx(each.mean())
    assert (whole.low, whole.high) == pytest.approx(intervals.student(each))


def test_seeds_of_models_that_share_no_data_are_refused():
    for second, wanted in (("d", "m"), ("b", "other")):
        with pytest.raises(ValueError, match="models are: a, b, c"):
            comparisons.gains_over_seeds(of_seeds(), "a", second, [wanted])


def gains(ours, theirs):
    return comparisons.gains({0: ours}, {0: theirs}, model="a", over="b", data="d")


def asked(metric, hits, groups=None, **conditions):
    groups = groups or [str(row) for row in range(len(hits))]
    return pd.DataFrame({"metric": metric, "group": groups, "hit": hits, **conditions})


def test_a_gain_is_paired():
    """Each is right in half of 40 queries, one of them in one more: sure, as all others agree."""
    base = [1.0, 0.0] * 20
    ahead = [1.0] * 8 + base[8:]
    (row,) = comparisons.gains(
        {0: asked("m", ahead)}, {0: asked("m", base)}, model="a", over="b", data="d"
    )
    assert (row.model, row.metric, row.at, row.n) == ("a", "m gain", {"over": "b"}, 40)
    assert row.value == pytest.approx(0.1)
    assert 0 < row.low < row.high < 0.25  # two separate intervals would reach 0.1 +- 0.22
    (same,) = comparisons.gains(
        {0: asked("m", base)}, {0: asked("m", base)}, model="a", over="b", data="d"
    )
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_queries_under_other_conditions_are_compared_apart():
    ours, theirs = [1.0, 1.0], [0.0, 1.0]
    both = pd.concat([asked("m", ours, k=1), asked("m", ours, prompt="photo")])
    other = pd.concat([asked("m", ours, prompt="photo"), asked("m", theirs, k=1)])
    rows = gains(both, other)
    assert [(row.at, row.value) for row in rows] == [
        ({"k": 1, "over": "b"}, 0.5), ({"prompt": "photo", "over": "b"}, 0.0),
    ]  # fmt: skip


def test_several_seeds_have_an_interval_together():
    draws = np.random.default_rng(0)
    ours, theirs = (
        {seed: asked("m", draws.random(30), list("abc") * 10, k=1) for seed in (4, 7, 9)}
        for _ in range(2)
    )
    *single, whole = comparisons.gains(ours, theirs, model="a", over="b", data="d")
    alone = comparisons.gains({7: ours[7]}, {7: theirs[7]}, model="a", over="b", data="d")
    assert [row.seed for row in single] == [4, 7, 9]
    assert alone == single[1:2]
    apart = np.stack([ours[seed].hit - theirs[seed].hit for seed in ours])
    assert (whole.seed, whole.n, whole.at) == (None, 30, {"k": 1, "seeds": 3, "over": "b"})
    assert whole.value == pytest.approx(apart.mean())
    assert (whole.low, whole.high) == metrics.crossed(apart, groups=np.array(list("abc") * 10))


def test_groups_are_drawn_together():
    ours, theirs, groups = np.array([1, 1, 0, 0, 1, 1]), np.zeros(6), list("aabbcc")
    together, apart = (
        comparisons.gain(ours, theirs, groups=own, model="a", data="d", metric="m", over="b")
        for own in (groups, None)
    )
    assert together.high - together.low > apart.high - apart.low


def test_other_queries_are_refused():
    first = asked("m", [1.0, 0.0])
    for second in (
        asked("m", [1.0, 0.0], ["0", "2"]), asked("n", [1.0, 0.0]), asked("m", [1.0])
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected a and b on the same queries of"):
            gains(first, second)
    both = {0: first, 1: asked("m", [1.0, 0.0, 1.0])}
    with pytest.raises(ValueError, match="with every seed, got 2, 2, 3, 3"):
        comparisons.gains(both, both, model="a", over="b", data="d")
