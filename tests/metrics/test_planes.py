"""Powers of several sizes: exact where they hold, the line's for one size, refusing the rest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.metrics import planes, trends

SIZES = np.array([(pairs, width) for pairs in (1.0, 4.0, 16.0) for width in (2.0, 3.0, 9.0)])


@given(first=st.floats(-2, 2), second=st.floats(-2, 2), scale=st.floats(1e-3, 1e3))
def test_an_exact_plane_is_found(first, second, scale):
    value = scale * SIZES[:, 0] ** first * SIZES[:, 1] ** second
    found = planes.power_plane(SIZES, value)
    assert found.exponents == pytest.approx((first, second), abs=1e-9)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    plane, (low, high) = found.at(SIZES)
    np.testing.assert_allclose(plane, value, rtol=1e-9)
    np.testing.assert_allclose(low, high, rtol=1e-5)  # rounding is all that scatters


def test_with_one_size_it_is_the_line():
    size, value = np.array([1.0, 3.0, 10.0, 40.0, 90.0]), np.array([0.9, 0.8, 0.5, 0.45, 0.3])
    plane, line = planes.power_plane(size[:, None], value, 0.9), trends.power_law(size, value, 0.9)
    assert plane.exponents == pytest.approx((line.exponent,))
    assert plane.intervals[0] == pytest.approx(line.interval)
    assert (plane.scale, plane.r_squared, plane.n) == pytest.approx(
        (line.scale, line.r_squared, line.n)
    )
    np.testing.assert_allclose(plane.at(size[:, None])[1], line.at(size)[1])


def test_the_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    exact = 0.8 * SIZES[:, 0] ** -0.2 * SIZES[:, 1] ** -0.4
    draws = exact * np.exp(0.1 * rng.standard_normal((1000, len(SIZES))))
    found = [planes.power_plane(SIZES, row, 0.9).intervals for row in draws]
    for index, true in enumerate((-0.2, -0.4)):
        hits = [ends[index].low <= true <= ends[index].high for ends in found]
        assert np.mean(hits) == pytest.approx(0.9, abs=0.03)  # three standard errors


@pytest.mark.parametrize(
    ("sizes", "value", "said"),
    [
        (SIZES[:3], np.ones(3), "two rows more"),
        (SIZES, np.ones(4), "shapes"),
        (SIZES - 1, np.ones(9), "above zero"),
        (SIZES, np.full(9, np.nan), "finite"),
        (SIZES[:, [0, 0]], np.ones(9), "follows from the others"),
        (np.ones((9, 1)), np.ones(9), "follows from the others"),
    ],
)
def test_what_has_no_plane_is_refused(sizes, value, said):
    with pytest.raises(ValueError, match=said):
        planes.power_plane(sizes, value)


def test_a_confidence_of_one_is_refused():
    with pytest.raises(ValueError, match="confidence"):
        planes.power_plane(SIZES, np.ones(9), 1.0)
