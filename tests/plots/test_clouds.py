"""Clouds of points: one panel a model, axes of one length."""

import pandas as pd
import pytest

from towers import plots


def frame(scale):
    return pd.DataFrame({"x": [scale, -scale], "y": [0.0, scale / 2], "side": ["a", "b"]})


def test_all_points_are_inside_axes_of_one_length():
    figure = plots.clouds({"one": frame(1.0), "two": frame(3.0)}, colour="side", columns=3)
    assert [axis.get_title() or axis.get_title(loc="left") for axis in figure.axes] == [
        "one",
        "two",
    ]
    for axis, scale in zip(figure.axes, (1.0, 3.0), strict=True):
        assert axis.get_xlim() == axis.get_ylim() == pytest.approx((-3.24, 3.24))
        drawn = [tuple(point) for line in axis.lines for point in line.get_xydata()]
        assert drawn == [(scale, 0.0), (-scale, scale / 2)]


def test_an_empty_panel_is_refused():
    with pytest.raises(ValueError, match="expected points in every panel"):
        plots.clouds({"one": frame(1.0).head(0)}, colour="side")
    with pytest.raises(ValueError, match="no panel"):
        plots.clouds({}, colour="side")
