"""The order is a pure function: permutations, shares and picks, checked against brute force."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from towers import training
from towers.training import order as order_module
from towers.training.order import Order, key, mixed, permuted


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_a_keyed_permutation_is_one(count, secret):
    assert sorted(permuted(np.arange(count), count, secret)) == list(range(count))


def test_a_point_of_a_permutation_does_not_depend_on_its_company():
    whole = permuted(np.arange(1000), 1000, 7)
    assert [int(permuted(np.array([at]), 1000, 7)[0]) for at in (0, 3, 999)] == [
        whole[0], whole[3], whole[999],
    ]  # fmt: skip


@pytest.mark.parametrize("count", [5, 16, 37])
@pytest.mark.slow
def test_every_row_comes_first_equally_often_and_pairs_of_places_are_independent(count):
    draws = np.array([permuted(np.arange(2), count, key(seed)) for seed in range(4000)])
    first = np.bincount(draws[:, 0], minlength=count)
    both = np.zeros((count, count))
    np.add.at(both, (draws[:, 0], draws[:, 1]), 1)
    pairs = both[~np.eye(count, dtype=bool)]
    assert both.trace() == 0
    assert stats.chisquare(first).pvalue > 1e-4  # a fair one fails once in 10,000 such tests
    assert stats.chisquare(pairs).pvalue > 1e-4


def test_neighbours_do_not_stay_neighbours():
    order = permuted(np.arange(20_000), 20_000, 1)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.04  # 5 standard errors
    assert abs(np.corrcoef(np.arange(20_000), order)[0, 1]) < 0.04


def test_mixing_is_a_bijection_and_flips_half_of_the_bits():
    values = np.arange(2**16, dtype=np.uint64)
    out = mixed(values, 5)
    assert len(np.unique(out)) == len(values)
    flips = np.bitwise_count(mixed(values ^ np.uint64(1), 5) ^ out)
    assert flips.mean() == pytest.approx(32, abs=0.1)


def test_one_number_is_mixed_as_many_are():
    values = np.array([0, 1, 2**64 - 1, 12345], dtype=np.uint64)
    assert [order_module._mixed_one(int(v), 77) for v in values] == mixed(values, 77).tolist()


def test_keys_of_different_words_numbers_and_places_differ():
    keys = [
        key(*parts) for parts in ((0,), (1,), (0, 0), (0, 1), (1, 0), ("a",), ("a", 0), (2**64,))
    ]
    assert len(set(keys)) == len(keys)
    assert key(3, "rows", 1) == key(3, "rows", 1)


BLOCKS = st.lists(st.integers(0, 9), min_size=1, max_size=7).filter(lambda b: sum(b) >= 8)


@settings(deadline=None)
@given(BLOCKS, st.integers(0, 5), st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2), (4, 2)]),
       st.integers(1, 3))  # fmt: skip
def test_an_epoch_visits_each_row_at_most_once_whatever_the_ranks(blocks, seed, shares, group):
    ranks, parts = shares
    order = Order(tuple(blocks), 8, seed, parts, group)
    alone = Order(tuple(blocks), 8, seed, 1, group)
    for epoch in range(2):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        seen = []
        for step in steps:
            assert order.epoch(step) == epoch
            rows = [
                order.draw(step, part, rank, ranks)
                for part in range(parts)
                for rank in range(ranks)
            ]
            joined = np.concatenate([draw.rows for draw in rows])
            whole = alone.draw(step)
            assert np.array_equal(joined, whole.rows)  # sharing changes nothing
            assert np.array_equal(np.concatenate([draw.picks for draw in rows]), whole.picks)
            seen += joined.tolist()
        assert max(Counter(seen).values()) == 1
        assert set(seen) <= set(range(order.rows))
        assert len(seen) == order.rows - order.rows % 8


def test_only_groups_of_blocks_are_open_at_a_time():
    order = Order((50,) * 12, 25, 3, group=3)
    for step in range(0, order.steps_per_epoch, 6):  # 6 steps x 25 rows: a group of 3 blocks
        rows = np.concatenate([order.draw(step + n).rows for n in range(6)])
        assert len(set(rows // 50)) == 3
    opened = [set(order.draw(6 * n).rows // 50) for n in range(4)]
    assert set.union(*opened) == set(range(12))


def test_epochs_seeds_and_dropped_rests_differ():
    order = Order((103,), 10, 0)
    epochs = [
        np.concatenate([order.draw(epoch * 10 + step).rows for step in range(10)])
        for epoch in range(30)
    ]
    assert len({tuple(epoch) for epoch in epochs}) == 30
    left = Counter(row for epoch in epochs for row in set(range(103)) - set(epoch))
    assert len(left) > 30  # 90 rests among 103 rows
    assert not np.array_equal(Order((103,), 10, 1).draw(0).rows, order.draw(0).rows)
    assert not np.array_equal(order.draw(0).picks, Order((103,), 10, 1).draw(0).picks)


def test_a_step_far_away_costs_no_more_and_needs_no_memory():
    order = Order((400_000_000,), 1024, 0)
    rows = order.draw(10**6).rows
    assert len(set(rows)) == 1024
    assert 0 <= rows.min() <= rows.max() < 400_000_000


@pytest.mark.parametrize(
    ("arguments", "ranks"),
    [(((7,), 8, 0), 1), (((0,), 1, 0), 1), (((9,), 8, 0, 3), 1), (((9,), 8, 0), 3),
     (((9,), 8, 0, 4), 4)],
)  # fmt: skip
def test_batches_that_cannot_be_shared_are_refused(arguments, ranks):
    with pytest.raises(training.TrainingError, match=r"^expected a batch .*; change batch"):
        Order(*arguments).draw(0, 0, 0, ranks)
