"""Intervals over seeds and items: the analysis of variance by hand, coverage, and bad input."""

import numpy as np
import pytest
from scipy import stats

from towers.metrics.crossed import crossed
from towers.metrics.intervals import student


def test_the_mean_squares_of_a_small_table_by_hand():
    """Seeds differ by 2, items by 0, 4, 8, and one cell is off: every term of the formula shows."""
    values = np.array([[0.0, 4.0, 8.0], [2.0, 6.0, 13.0]])
    mean = 33 / 6
    seeds = 3 * sum((row.mean() - mean) ** 2 for row in values)  # one degree of freedom
    items = 2 * sum((column.mean() - mean) ** 2 for column in values.T) / 2
    rest = (values**2).sum() - 6 * mean**2 - seeds - 2 * items
    rest /= 2
    assert items > seeds > rest > 0
    spread = seeds + items - rest
    free = spread**2 / (seeds**2 / 1 + items**2 / 2 + rest**2 / 2)
    reach = stats.t.ppf(0.975, free) * (spread / 6) ** 0.5
    assert crossed(values) == pytest.approx((mean - reach, mean + reach))


def test_items_that_are_all_alike_leave_student_s_interval_over_seeds():
    of_seed = np.array([0.1, 0.4, 0.2])
    assert crossed(np.tile(of_seed[:, None], 50)) == pytest.approx(student(of_seed))


def test_seeds_that_are_all_alike_leave_student_s_interval_over_items():
    of_item = np.random.default_rng(0).normal(size=40)
    assert crossed(np.tile(of_item, (3, 1))) == pytest.approx(student(of_item))


def test_a_group_of_equal_items_counts_as_one_and_by_its_size():
    values = np.random.default_rng(1).normal(size=(3, 20))
    groups = np.arange(20)
    again = np.repeat(values, 3, axis=1)
    assert crossed(again, groups=np.repeat(groups, 3)) == pytest.approx(crossed(values))
    low, high = crossed(values, groups=np.minimum(groups, 9))  # the last eleven are one group
    assert (low + high) / 2 == pytest.approx(values.mean())


def test_order_and_labels_of_groups_do_not_matter():
    rng = np.random.default_rng(2)
    values, groups = rng.normal(size=(4, 30)), rng.integers(0, 8, 30)
    order = rng.permutation(30)
    shuffled = crossed(values[:, order], groups=np.array(list("abcdefgh"))[groups[order]])
    assert shuffled == pytest.approx(crossed(values, groups=groups))


@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_item"), [(3, 0.0, 0.0), (3, 0.3, 0.0), (3, 0.1, 0.5), (4, 0.1, 1.0)]
)
def test_it_covers_the_truth_as_often_as_it_promises(seeds, of_seed, of_item):
    """95 % up to what 1,000 trials and a few seeds leave open."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(1000):
        values = rng.normal(size=(seeds, 60)) + of_seed * rng.normal(size=(seeds, 1))
        low, high = crossed(values + of_item * rng.normal(size=60))
        covered += low <= 0 <= high
    assert 0.92 <= covered / 1000 <= 0.99


def test_values_that_are_all_alike_have_no_width():
    assert crossed(np.full((3, 4), 0.25)) == (0.25, 0.25)


def test_more_confidence_is_wider():
    values = np.random.default_rng(4).normal(size=(3, 10))
    (low, high), (lower, higher) = crossed(values, confidence=0.8), crossed(values, confidence=0.99)
    assert lower < low < high < higher


@pytest.mark.parametrize(
    ("values", "groups", "got"),
    [
        (np.ones((1, 5)), None, "(1, 5)"), (np.ones((3, 1)), None, "(3, 1)"),
        (np.ones(5), None, "(5,)"), (np.full((2, 2), np.nan), None, "(2, 2)"),
        (np.ones((2, 4)), np.zeros(3), "3 items in 1"), (np.ones((2, 4)), np.zeros(4), "in 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused(values, groups, got):
    with pytest.raises(ValueError, match=r"expected") as caught:
        crossed(values, groups=groups)
    assert got in str(caught.value)


@pytest.mark.parametrize("confidence", [0, 1, float("nan")])
def test_a_confidence_lies_between_0_and_1(confidence):
    with pytest.raises(ValueError, match=str(confidence)):
        crossed(np.eye(3), confidence=confidence)
