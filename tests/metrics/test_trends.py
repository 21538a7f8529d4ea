"""Power laws: exact where the law holds, covering where it is noisy, and refusing the rest."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from towers.metrics import trends

SIZES = np.array([1.0, 3.0, 10.0, 40.0, 90.0])[:, None]
GRID = np.array([(pairs, width) for pairs in (1.0, 4.0, 16.0) for width in (2.0, 3.0, 9.0)])


@given(first=st.floats(-2, 2), second=st.floats(-2, 2), scale=st.floats(1e-3, 1e3))
def test_an_exact_law_is_found(first, second, scale):
    value = scale * GRID[:, 0] ** first * GRID[:, 1] ** second
    found = trends.power_law(GRID, value)
    assert found.exponents == pytest.approx((first, second), abs=1e-9)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    line, (low, high) = found.at(GRID)
    np.testing.assert_allclose(line, value, rtol=1e-9)
    np.testing.assert_allclose(low, high, rtol=1e-5)  # rounding is all that scatters


def test_the_intervals_are_those_of_the_normal_equations():
    values = np.array([0.9, 0.8, 0.5, 0.45, 0.3])
    design = np.column_stack([np.ones(5), np.log(SIZES)])
    solved, (squares,), *_ = np.linalg.lstsq(design, np.log(values))
    covariance = squares / 3 * np.linalg.inv(design.T @ design)
    t = 3.182446305284263  # 97.5 % of Student's t with 3 degrees of freedom, from tables
    found = trends.power_law(SIZES, values)
    reach = t * covariance[1, 1] ** 0.5
    assert found.exponents == pytest.approx((solved[1],))
    assert found.intervals[0] == pytest.approx((solved[1] - reach, solved[1] + reach))
    total = ((np.log(values) - np.log(values).mean()) ** 2).sum()
    assert found.r_squared == pytest.approx(1 - squares / total)
    place = np.array([1.0, np.log(20.0)])
    reach = t * (place @ covariance @ place) ** 0.5
    line, ends = found.at(np.array([[20.0]]))
    assert line[0] == pytest.approx(np.exp(place @ solved))
    assert ends[:, 0] == pytest.approx(np.exp([place @ solved - reach, place @ solved + reach]))


def test_one_size_is_the_straight_line():
    values = np.array([0.9, 0.8, 0.5, 0.45, 0.3])
    line, found = (
        stats.linregress(np.log(SIZES[:, 0]), np.log(values)),
        trends.power_law(SIZES, values),
    )
    assert found.exponents[0] == pytest.approx(line.slope)
    assert found.scale == pytest.approx(np.exp(line.intercept))
    assert found.r_squared == pytest.approx(line.rvalue**2)


def test_the_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    exact = 0.8 * GRID[:, 0] ** -0.2 * GRID[:, 1] ** -0.4
    draws = exact * np.exp(0.1 * rng.standard_normal((1000, len(GRID))))
    found = [trends.power_law(GRID, row).intervals for row in draws]
    for index, true in enumerate((-0.2, -0.4)):
        hits = [ends[index].low <= true <= ends[index].high for ends in found]
        assert np.mean(hits) == pytest.approx(0.95, abs=0.021)  # three standard errors


@pytest.mark.parametrize(
    ("sizes", "value", "said"),
    [
        (SIZES[:2], np.ones(2), "two rows more"),
        (GRID[:3], np.ones(3), "two rows more"),
        (GRID, np.ones(4), "shapes"),
        (SIZES[:, 0], np.ones(5), "a row of sizes for each value"),
        (GRID - 1, np.ones(9), "above zero"),
        (GRID, np.arange(9.0), "above zero"),
        (GRID, np.full(9, np.nan), "finite"),
        (GRID, np.array([np.inf, *np.ones(8)]), "finite"),
        (np.array([[np.inf], *np.ones((8, 1))]), np.ones(9), "finite"),
        (GRID[:, [0, 0]], np.ones(9), "follows from the others"),
        (np.ones((9, 1)), np.ones(9), "follows from the others"),
    ],
)
def test_what_has_no_law_is_refused(sizes, value, said):
    with pytest.raises(ValueError, match=said):
        trends.power_law(sizes, value)


def test_three_points_are_enough_for_one_size():
    sizes, values = np.array([[1.0], [np.e], [np.e**2]]), np.exp([0.0, 1.0, 0.0])
    law = trends.power_law(sizes, values)
    # slope 0 through (0, 0), (1, 1), (2, 0): squares of 2/3, over 2 of the sizes, 1 degree left
    reach = np.tan(np.pi * 0.475) * np.sqrt(2 / 3 / 2)  # its quantile in closed form
    assert law.exponents[0] == pytest.approx(0, abs=1e-12)
    assert law.intervals[0] == pytest.approx((-reach, reach))


def test_what_does_not_vary_is_explained_and_a_value_at_the_mean_is_like_others():
    assert trends.power_law(SIZES, np.ones(5)).r_squared == 1
    law = trends.power_law(np.array([[1.0], [4.0], [2.0]]), np.array([0.5, 1.0, 2.0]))
    line = stats.linregress(np.log([1, 4, 2]), np.log([0.5, 1, 2]))
    assert law.r_squared == pytest.approx(line.rvalue**2)


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
