"""Power laws: exact where the law holds, covering where it is noisy, and refusing the rest."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from towers.metrics import trends

SIZES = np.array([1.0, 3.0, 10.0, 40.0, 90.0])


@given(exponent=st.floats(-3, 3), scale=st.floats(1e-3, 1e3))
def test_an_exact_law_is_found(exponent, scale):
    found = trends.power_law(SIZES, scale * SIZES**exponent)
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    line, (low, high) = found.at(SIZES)
    np.testing.assert_allclose(line, scale * SIZES**exponent, rtol=1e-9)
    np.testing.assert_allclose(low, high, rtol=1e-5)  # rounding is all that scatters


def test_the_intervals_are_those_of_the_normal_equations():
    values = np.array([0.9, 0.8, 0.5, 0.45, 0.3])
    design = np.stack([np.ones(5), np.log(SIZES)], axis=1)
    solved, (squares,), *_ = np.linalg.lstsq(design, np.log(values))
    covariance = squares / 3 * np.linalg.inv(design.T @ design)
    t = 3.182446305284263  # 97.5 % of Student's t with 3 degrees of freedom, from tables
    found = trends.power_law(SIZES, values)
    reach = t * covariance[1, 1] ** 0.5
    assert found.interval == pytest.approx((solved[1] - reach, solved[1] + reach))
    total = ((np.log(values) - np.log(values).mean()) ** 2).sum()
    assert found.r_squared == pytest.approx(1 - squares / total)
    place = np.array([1.0, np.log(20.0)])
    reach = t * (place @ covariance @ place) ** 0.5
    line, ends = found.at(np.array([20.0]))
    assert line[0] == pytest.approx(np.exp(place @ solved))
    assert ends[:, 0] == pytest.approx(np.exp([place @ solved - reach, place @ solved + reach]))


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = 0.5 * SIZES**-0.3 * np.exp(0.1 * rng.standard_normal((1000, 5)))
    hits = [law.interval.low <= -0.3 <= law.interval.high
            for law in (trends.power_law(SIZES, row, 0.9) for row in draws)]  # fmt: skip
    assert np.mean(hits) == pytest.approx(0.9, abs=0.03)  # three standard errors


@pytest.mark.parametrize(
    ("size", "value", "said"),
    [
        ([1, 2], [1, 2], "three sizes"),
        ([1, 2, 3], [1, 2], "shapes"),
        ([1, 2, 0], [1, 2, 3], "above zero"),
        ([1, 2, 3], [1, np.nan, 3], "finite"),
        ([2, 2, 2], [1, 2, 3], "different sizes"),
    ],
)
def test_what_has_no_line_is_refused(size, value, said):
    with pytest.raises(ValueError, match=said):
        trends.power_law(size, value)
    with pytest.raises(ValueError, match="confidence"):
        trends.power_law(SIZES, SIZES, 1.0)


@given(hnp.arrays(int, (7, 2), elements=st.integers(0, 4)))
def test_the_frontier_is_what_nothing_beats(points):
    cost, value = points.T
    beaten = np.zeros(7, bool)
    for own, other in itertools.product(range(7), repeat=2):
        no_worse = cost[other] <= cost[own] and value[other] <= value[own]
        beaten[own] |= no_worse and tuple(points[other]) != tuple(points[own])
    assert (trends.frontier(cost, value) == ~beaten).all()


def test_no_number_is_on_the_frontier_where_there_is_none():
    assert trends.frontier([1.0, 2.0, 3.0], [0.5, np.nan, 0.4]).tolist() == [True, False, True]
