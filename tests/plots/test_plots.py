"""Figures: opaque, complete, and refusing what they cannot draw."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

mpl.use("Agg")

from towers import plots
from towers.plots.style import RIGHT, WRONG

FRAME = pd.DataFrame(
    {
        "task": ["digits", "digits", "emoji", "emoji"],
        "prompt": ["name", "sentence"] * 2,
        "value": [0.2, 0.3, 0.04, 0.05],
        "low": [0.1, 0.2, 0.03, 0.04],
        "high": [0.3, 0.4, 0.05, 0.06],
        "chance": [0.1, 0.1, 0.001, 0.001],
    }
)


def pixels(figure) -> np.ndarray:
    """The figure as it is saved, with its alpha channel."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGBA"))


def test_saved_figures_are_opaque():
    figure = plots.dots(FRAME, rows="task", colour="prompt", chance="chance")
    assert (pixels(figure)[..., 3] == 255).all()


def test_dots_draws_every_value_on_its_line_once():
    figure = plots.dots(FRAME, rows="task", colour="prompt")
    drawn = [line.get_xdata() for line in figure.axes[0].lines if line.get_marker() in "osD^vP"]
    assert sorted(np.concatenate(drawn)) == sorted(FRAME.value)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["digits", "emoji"]


def test_dots_splits_into_panels():
    assert len(plots.dots(FRAME, rows="task", panel="prompt").axes) == 2


def test_dots_names_a_missing_column():
    with pytest.raises(ValueError, match="'high'"):
        plots.dots(FRAME.drop(columns="high"), rows="task")


def zero_lines(figure) -> list[int]:
    """How many vertical lines each panel has at zero, in view."""
    return [
        sum(list(line.get_xdata()) == [0, 0] for line in axis.lines)
        * (axis.get_xlim()[0] <= 0 <= axis.get_xlim()[1])
        for axis in figure.axes
    ]


def test_dots_marks_zero_where_an_interval_crosses_it():
    assert zero_lines(plots.dots(FRAME, rows="task")) == [0]
    gains = FRAME.assign(low=[-0.1, 0.2, 0.03, 0.04])
    assert zero_lines(plots.dots(gains, rows="task")) == [1]
    assert zero_lines(plots.dots(gains, rows="task", panel="prompt")) == [1, 1]
    losses = FRAME.assign(value=-FRAME.value, low=-FRAME.high, high=-FRAME.low)
    assert zero_lines(plots.dots(losses, rows="task")) == [1]


def test_dots_marks_a_given_value_in_every_panel():
    figure = plots.dots(FRAME, rows="task", panel="prompt", log=True, line=0.5)
    for axis in figure.axes:
        assert [0.5, 0.5] in [list(drawn.get_xdata()) for drawn in axis.lines]


def test_dots_says_that_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one row to draw as task") as caught:
        plots.dots(FRAME[:0], rows="task", colour="prompt", panel="prompt")
    assert "\n" not in str(caught.value)


def test_figures_fit_the_page():
    for figure in (
        plots.dots(FRAME, rows="task"),
        plots.distributions({"a": [1, 2, 3]}, xlabel="words", bins=range(5)),
        plots.counts(FRAME, rows="task", value="value", xlabel="share"),
    ):
        assert figure.get_figwidth() * mpl.rcParams["figure.dpi"] <= 720


def test_pictures_are_fitted_never_cropped():
    tall = Image.new("RGB", (10, 100), "black")
    shown = plots.pictures([tall], columns=1).axes[0].images[0].get_array()
    assert shown.shape[:2] == (100, 100)
    assert (np.asarray(shown)[:, 45:55] == 0).all()
    assert (np.asarray(shown)[:, :44] == 255).all()


def test_a_picture_is_shown_small_whatever_its_sides():
    """Fitted into a square of its own, 60,000 x 2 pixels would take 10 GB."""
    line = Image.new("RGB", (60_000, 2), "black")
    shown = plots.pictures([line], columns=1).axes[0].images[0].get_array()
    assert shown.shape[:2] == (256, 256)
    assert (np.asarray(shown) == 0).all(axis=2).sum() == 256  # one row of ink


class Dog:
    """One picture of a dog."""

    targets = {"class": "dog"}  # noqa: RUF012

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (8, 8))

    def __getitem__(self, index: int) -> "Dog":
        return self


def test_predictions_colour_right_and_wrong():
    guesses = [[[("cat", 0.6), ("dog", 0.4)]]]
    axes = plots.predictions([Dog()], guesses, names=["pets"]).axes
    bars = [patch.get_facecolor() for patch in axes[1].patches]
    assert bars == [mpl.colors.to_rgba(WRONG), mpl.colors.to_rgba(RIGHT)]
    assert axes[0].spines["left"].get_edgecolor() == mpl.colors.to_rgba(WRONG)


@pytest.mark.parametrize(("text", "expected"), [("short", "short"), ("a longer text", "a long…")])
def test_shorten_marks_what_it_cut(text, expected):
    assert plots.shorten(text, 7) == expected


def test_similarity_draws_each_matrix_with_its_numbers_and_frames_partners():
    sims = np.array([[0.31, -0.02], [0.05, 0.22]])
    rows, columns = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.7, 0.4], [0.3, 0.6]])
    images = [Image.new("RGB", size, "red") for size in ((30, 20), (8, 40))]
    figure = plots.similarity(images, ["a long caption of a red thing", "two"], sims, rows, columns)
    written = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert written[0] == ["0.31", "-0.02", "0.05", "0.22"]
    assert written[1] == ["90%", "10%", "20%", "80%"]
    assert written[2] == ["70%", "40%", "30%", "60%"]
    for axis in figure.axes:
        framed = [patch.get_xy() for patch in axis.patches]
        assert framed == [(-0.47, -0.47), (0.53, 0.53)]
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["1  a long caption of a r…", "2  two"]
    assert (pixels(figure)[..., 3] == 255).all()


def test_curves_draw_the_mean_of_each_group_and_mark_chance():
    frame = pd.DataFrame(
        {"step": [1, 1, 2, 2, 1, 2], "loss": [1.0, 3.0, 2.0, 2.0, 5.0, 4.0], "run": list("aaaabb")}
    )
    axis = plots.curves(
        frame, x="step", y="loss", colour="run", xlabel="step", ylabel="nats", chance=0.5
    ).axes[0]
    first, second, chance = axis.get_lines()
    assert list(first.get_ydata()) == [2.0, 2.0]
    assert list(second.get_ydata()) == [5.0, 4.0]
    assert set(chance.get_ydata()) == {0.5}
    assert len(axis.collections) == 1  # only the first has a range
    assert all(place == int(place) for place in axis.get_xticks())  # no half a step
    with pytest.raises(ValueError, match="expected at least one point of loss"):
        plots.curves(frame[:0], x="step", y="loss", colour="run", xlabel="", ylabel="")


def test_scaling_draws_points_line_band_and_what_was_averaged():
    points = pd.DataFrame({"size": [1e6, 1e7, 1e8], "error": [0.5, 0.3, 0.2], "model": list("abc")})
    band = pd.DataFrame({"size": [1e6, 1e8], "value": [0.5, 0.2], "low": [0.4, 0.1],
                         "high": [0.6, 0.3]})  # fmt: skip
    parts = pd.concat([points.assign(part="x"), points.assign(part="y", error=0.01)])
    names = {"x": "size", "y": "error", "colour": "model", "xlabel": "", "ylabel": ""}
    figure = plots.scaling(points, band, parts=parts, part="part", **names)
    (axis,) = figure.axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["single evaluations", "fit", "a", "b", "c"]
    assert len(axis.lines) == 2 + 1 + 3
    figure.canvas.draw()
    shown = [text.get_text() for text in axis.get_yticklabels()]
    assert len(shown) == len(set(shown))
    counts = plots.scaling(points.assign(size=[250, 1000, 4000]), band, **names).axes[0]
    assert [text.get_text() for text in counts.get_xticklabels()] == ["250", "1,000", "4,000"]
    with pytest.raises(ValueError, match="at least one point of error"):
        plots.scaling(points[:0], band, **names)


def test_across_names_every_place_and_draws_every_value():
    figure = plots.across(FRAME, places="task", colour="prompt", ylabel="recall", chance="chance")
    (axis,) = figure.axes
    assert [t.get_text() for t in axis.get_xticklabels()] == ["digits", "emoji"]
    drawn = [line.get_ydata() for line in axis.lines if line.get_marker() in "osD^vP"]
    assert sorted(np.concatenate(drawn)) == sorted(FRAME.value)
    (level,) = [line.get_ydata() for line in axis.lines if line.get_label() == "chance"]
    assert list(level) == [0.1, 0.001]
    ends = np.concatenate([lines.get_segments() for lines in axis.collections])
    assert sorted(ends[:, :, 1].min(1)) == sorted(FRAME.low)


def test_across_has_a_panel_for_each_and_one_order_of_places():
    frame = FRAME.drop(columns=["low", "high"])
    figure = plots.across(frame, places="task", colour="task", panel="prompt", ylabel="n", log=True)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["name", "sentence"]
    assert {axis.get_yscale() for axis in figure.axes} == {"log"}


def test_across_begins_at_zero_with_percent():
    figure = plots.across(FRAME, places="task", colour="prompt", ylabel="recall", percent=True)
    assert figure.axes[0].get_ylim()[0] == 0


def test_across_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="'value'"):
        plots.across(FRAME.drop(columns="value"), places="task", colour="prompt", ylabel="n")
    with pytest.raises(ValueError, match="at least one row to draw as task"):
        plots.across(FRAME.iloc[:0], places="task", colour="prompt", ylabel="n")
