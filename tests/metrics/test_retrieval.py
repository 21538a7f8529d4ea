"""Recall at k against every order that ties allow, and the properties of a rank metric."""

import re
from itertools import pairwise, permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towers.metrics import chance_at_k, hits_at_k, recall_at_k
from towers.metrics import retrieval as module


def hit_by_enumeration(row, positives, k):
    """The share of all orders compatible with the scores that put a positive into the first k."""
    orders = [
        order
        for order in permutations(range(len(row)))
        if all(row[a] >= row[b] for a, b in pairwise(order))
    ]
    return sum(any(place in positives for place in order[:k]) for order in orders) / len(orders)


@st.composite
def tied_rows(draw):
    """One query of up to six candidates with few distinct scores, and its positives."""
    row = draw(st.lists(st.integers(-1, 1), min_size=1, max_size=6))
    positives = draw(st.sets(st.integers(0, len(row) - 1), min_size=1))
    return np.array([row], dtype=np.float32), sorted(positives)


@settings(max_examples=150, deadline=None)
@given(tied_rows())
def test_equals_the_share_of_all_orders_that_hit(case):
    sims, positives = case
    ks = range(1, sims.shape[1] + 2)
    hits = hits_at_k(sims, [positives], ks)
    for k in ks:
        expected = hit_by_enumeration(sims[0], positives, k)
        assert hits[k][0] == pytest.approx(expected, abs=1e-12)  # both are ratios of integers


@pytest.mark.parametrize(("candidates", "right", "k"), [(25_000, 5, 10), (7, 7, 1), (300, 1, 299)])
def test_collapsed_scores_measure_exactly_chance(candidates, right, k):
    sims = np.full((3, candidates), 0.25, dtype=np.float32)
    positives = [range(right)] * 3
    missed = comb(candidates - right, k) / comb(candidates, k)
    assert recall_at_k(sims, positives, [k])[k] == pytest.approx(1 - missed, rel=1e-9)
    assert chance_at_k([right] * 3, candidates, [k])[k] == recall_at_k(sims, positives, [k])[k]


def test_queries_with_more_and_fewer_positives_do_not_disturb_each_other():
    alone = {right: 1 - comb(6 - right, 2) / comb(6, 2) for right in (1, 2, 3)}
    hits = hits_at_k(np.zeros((3, 6)), [[0], [0, 1], [3, 4, 5]], [2])[2]
    assert hits == pytest.approx([alone[1], alone[2], alone[3]], abs=1e-12)
    assert chance_at_k([1, 2, 3], 6, [2])[2] == pytest.approx(np.mean(hits), abs=1e-12)


def test_one_positive_at_chance_is_k_over_n():
    assert chance_at_k([1, 1], 157, [1, 5, 10]) == pytest.approx(
        {1: 1 / 157, 5: 5 / 157, 10: 10 / 157}
    )


def test_a_positive_below_a_better_one_does_not_count_twice():
    sims = np.array([[3.0, 2.0, 2.0, 1.0]])
    assert recall_at_k(sims, [[0, 1]], [1, 2]) == {1: 1.0, 2: 1.0}
    assert recall_at_k(sims, [[1, 3]], [1, 2, 3, 4]) == {1: 0.0, 2: 0.5, 3: 1.0, 4: 1.0}


def test_the_three_ways_to_name_positives_agree():
    sims = np.random.default_rng(0).normal(size=(4, 9))
    vector = np.array([8, 0, 3, 3])
    matrix = np.zeros((4, 9), dtype=bool)
    matrix[np.arange(4), vector] = True
    lists = [[8], [0, 0], np.array([3]), (3,)]
    assert recall_at_k(sims, vector, [2]) == recall_at_k(sims, matrix, [2])
    assert recall_at_k(sims, vector, [2]) == recall_at_k(sims, lists, [2])
    assert recall_at_k(sims, list(vector), [2]) == recall_at_k(sims, vector[:, None], [2])
    several = np.array([[8, 1], [0, 5], [3, 2], [3, 7]])
    assert recall_at_k(sims, several, [2]) == recall_at_k(sims, several.tolist(), [2])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_monotone_in_k_and_blind_to_order_and_to_monotone_maps(seed):
    rng = np.random.default_rng(seed)
    sims = rng.integers(-3, 4, size=(5, 8)).astype(np.float64)  # small integers: maps are exact
    positives = [rng.choice(8, size=rng.integers(1, 4), replace=False) for _ in range(5)]
    hits = hits_at_k(sims, positives, range(1, 9))
    values = np.array(list(hits.values()))
    assert (np.diff(values, axis=0) >= 0).all()
    assert (values[-1] == 1).all()

    order = rng.permutation(8)
    moved = hits_at_k(sims[:, order], [np.argsort(order)[rows] for rows in positives], [3])
    np.testing.assert_array_equal(moved[3], hits[3])
    np.testing.assert_array_equal(hits_at_k(sims**3 + 5, positives, [3])[3], hits[3])


def test_a_positive_named_twice_counts_once():
    assert recall_at_k(np.zeros((1, 4)), [[2, 2, 2]], [1]) == {1: 0.25}


def test_tiles_and_transposed_views_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    sims = rng.integers(0, 6, size=(40, 31)).astype(np.float32)
    positives = rng.integers(0, 31, size=40)
    whole = hits_at_k(sims, positives, [1, 4])
    for scores in (70, 30):  # two rows, and less than one
        monkeypatch.setattr(module, "TILE", scores)
        tiled = hits_at_k(np.asfortranarray(sims), positives, [1, 4])
        for k in whole:
            np.testing.assert_array_equal(tiled[k], whole[k])


def test_infinities_are_ordered():
    sims = np.array([[np.inf, 0.0, -np.inf], [np.inf, np.inf, 0.0]])
    assert list(hits_at_k(sims, [0, 0], [1])[1]) == [1.0, 0.5]


@pytest.mark.parametrize(
    ("sims", "positives", "ks", "message"),
    [
        ([[0.0, np.nan]], [0], [1], "without NaN"),
        (np.zeros((0, 3)), [], [1], "queries x candidates"),
        ([0.0, 1.0], [0], [1], "queries x candidates"),
        ([[0.0, 1.0]], [0], [0], "each 1 or more"),
        ([[0.0, 1.0]], [0], [], "at least one k"),
        ([[0.0, 1.0]], [2], [1], "from 0 to 1"),
        ([[0.0, 1.0]], [-1], [1], "from 0 to 1"),
        ([[0.0, 1.0]], [[0, 2]], [1], "from 0 to 1, got 0 to 2"),
        ([[0.0, 1.0]], [[-1, 1]], [1], "from 0 to 1, got -1 to 1"),
        ([[0.0, 1.0]], [[]], [1], "none for query 0"),
        ([[0.0, 1.0]] * 2, [[0], []], [1], "none for query 1"),
        ([[0.0, 1.0]], np.zeros((1, 2), bool), [1], "none for query 0"),
        ([[0.0, 1.0]], np.zeros((1, 3), bool), [1], "shaped (1, 2)"),
        ([[0.0, 1.0]], [0, 1], [1], "for 1 queries, got 2"),
        ([[0.0, 1.0]], [[0.5]], [1], "integer indices"),
    ],
)
def test_bad_input_is_one_line_that_says_what_came(sims, positives, ks, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        hits_at_k(sims, positives, ks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("positives", [[0], [4], [], [0, 1], [1, 4]])
def test_chance_refuses_impossible_counts(positives):
    with pytest.raises(ValueError, match="expected 1 to 3 positives"):
        chance_at_k(positives, 3, [1])
