"""The schedule at its corners, and its shape in between."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.training.schedules import constant, cosine, linear, reciprocal_sqrt


def test_corners_are_the_formula():
    assert cosine(0, 100, warmup=10) == 1 / 11
    assert cosine(10, 100, warmup=10) == 1
    assert cosine(55, 100, warmup=10) == pytest.approx(0.5)  # half-way: the middle
    assert cosine(100, 100, warmup=10) == 0
    assert cosine(1000, 100) == 0
    assert cosine(25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@given(st.integers(1, 300), st.data())
def test_climbs_to_one_then_never_rises(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    values = [cosine(step, steps, warmup) for step in range(steps + 1)]
    assert values[: warmup + 1] == sorted(values[: warmup + 1])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    assert max(values) == values[warmup] == 1
    assert min(values) >= 0


@pytest.mark.parametrize("warmup", [5, -1])
def test_impossible_schedules_are_refused(warmup):
    with pytest.raises(ValueError, match=r"^expected 0 <= warmup < steps"):
        cosine(0, 5, warmup)


def test_the_constant_schedule_climbs_and_stays():
    assert [constant(step, 9, 2) for step in (0, 1, 2, 8, 900)] == [1 / 3, 2 / 3, 1, 1, 1]
    assert constant(0, 9) == 1


def test_the_linear_schedule_climbs_and_falls_on_straight_lines():
    assert [linear(step, 12, 2) for step in (0, 1, 2)] == [1 / 3, 2 / 3, 1]
    assert [linear(step, 12, 2) for step in (7, 11, 12, 90)] == [0.5, 0.1, 0, 0]


def test_the_reciprocal_root_is_the_formula_between_its_two_ramps():
    steps, warmup = 1000, 100
    assert reciprocal_sqrt(0, steps, warmup) == 1 / 101
    assert reciprocal_sqrt(100, steps, warmup) == 1
    assert reciprocal_sqrt(400, steps, warmup) == 1 / math.sqrt(1 + 300 / 100)
    assert reciprocal_sqrt(900, steps, warmup) == 1 / math.sqrt(9)
    assert reciprocal_sqrt(950, steps, warmup) == 0.5 / math.sqrt(9.5)
    assert reciprocal_sqrt(1000, steps, warmup) == reciprocal_sqrt(5000, steps, warmup) == 0


@given(st.integers(2, 300), st.data())
def test_the_reciprocal_root_peaks_after_the_warm_up(steps, data):
    warmup = data.draw(st.integers(1, steps - 1))
    values = [reciprocal_sqrt(step, steps, warmup) for step in range(steps + 1)]
    assert values[: warmup + 1] == sorted(values[: warmup + 1])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    assert (max(values), values[-1]) == (1, 0)


def test_a_reciprocal_root_needs_a_warm_up():
    with pytest.raises(ValueError, match=r"^expected 1 <= warmup < steps, got warmup 0"):
        reciprocal_sqrt(0, 5, 0)
