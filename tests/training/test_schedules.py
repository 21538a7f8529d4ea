"""The schedule at its corners, and its shape in between."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.training.schedules import cosine


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
