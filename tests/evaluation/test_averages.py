"""Means over seeds: the formula, and no mean where it would flatter or has no meaning."""

import math
from itertools import starmap

import pytest

from towers.evaluation import averages
from towers.records import Measurement

QUANTILE = 4.30265272991  # of Student with two degrees of freedom, at 97.5 %


def row(seed, value, metric="R@1", model="ours", data="toys"):
    return Measurement(model=model, data=data, metric=metric, value=value, n=7, seed=seed)


def test_the_mean_has_students_interval_over_seeds():
    rows = list(starmap(row, [(0, 0.1), (1, 0.2), (2, 0.6)]))
    (mean,) = averages.over_seeds(rows, ["R@1"])
    reach = QUANTILE * math.sqrt((0.2**2 + 0.1**2 + 0.3**2) / 2 / 3)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.3, 0.3 - reach, 0.3 + reach))
    assert (mean.model, mean.data, mean.metric) == ("ours", "toys", "mean R@1")
    assert (mean.n, mean.seed) == (3, None)


def test_half_and_twice_give_one():
    rows = list(starmap(row, [(0, 0.5), (1, 1), (2, 2)]))
    (mean,) = averages.over_seeds(rows, ["R@1"], geometric=True)
    reach = QUANTILE * math.log(2) / math.sqrt(3)
    assert (mean.value, mean.low, mean.high) == pytest.approx(
        (1, math.exp(-reach), math.exp(reach))
    )
    assert mean.metric == "geometric mean R@1"


def test_models_data_and_metrics_stand_apart_and_others_stay_out():
    rows = [
        row(seed, 0.5, *other)
        for seed in (0, 1)
        for other in [("R@1",), ("R@5",), ("R@9",), ("R@1", "theirs"), ("R@1", "ours", "new")]
    ]
    rows.append(row(None, 0.9))
    means = averages.over_seeds(rows, ["R@1", "R@5"])
    assert {(mean.model, mean.data, mean.metric, mean.value) for mean in means} == {
        ("ours", "toys", "mean R@1", 0.5), ("ours", "toys", "mean R@5", 0.5),
        ("theirs", "toys", "mean R@1", 0.5), ("ours", "new", "mean R@1", 0.5),
    }  # fmt: skip


def test_what_a_seed_lacks_has_no_mean_nor_has_a_single_seed():
    rows = [row(0, 0.5), row(1, 0.5), row(2, 0.5, "R@5"), row(0, 0.5, model="alone")]
    assert averages.over_seeds(rows, ["R@1", "R@5"]) == []


def test_ratios_of_zero_are_refused_in_a_line():
    rows = [row(0, 0.0), row(1, 1.0)]
    with pytest.raises(ValueError, match="expected values above zero of 'R@1' for a geometric"):
        averages.over_seeds(rows, ["R@1"], geometric=True)
