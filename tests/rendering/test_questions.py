"""Questions above pictures, as in the paper's figure 7."""

import numpy as np
import pytest
from PIL import Image

from towers.rendering import RenderingError, Style, render, render_question

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("question", "lines"), [("Is it red?", 1), ("what is it? " * 5, 2), ("", 0)]
)
def test_the_question_stands_on_top_and_the_picture_fills_the_rest(question, lines):
    both = render_question(Image.fromarray(PICTURE), question)
    assert both.shape == (224, 224, 3)
    text = render([question])[0, : 16 * lines]
    np.testing.assert_array_equal(both[: 16 * lines], np.stack([text] * 3, axis=-1))
    below = Image.fromarray(PICTURE).resize((224, 224 - 16 * lines), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(both[16 * lines :], np.asarray(below))


def test_a_long_question_leaves_the_picture_one_line():
    both = render_question(PICTURE, "why " * 300, 64)
    np.testing.assert_array_equal(both[:48, :, 0], render(["why " * 300], 64)[0, :48])
    below = Image.fromarray(PICTURE).resize((64, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(both[48:], np.asarray(below))


def test_arrays_pictures_and_greys_are_taken():
    style = Style(ink=255, background=0)
    array = render_question(PICTURE, "how many?", 96, style)
    np.testing.assert_array_equal(
        array, render_question(Image.fromarray(PICTURE), "how many?", 96, style)
    )
    grey = Image.fromarray(PICTURE).convert("L")
    assert render_question(grey, "how many?", 96, style).shape == (96, 96, 3)


def test_a_question_is_one_text():
    with pytest.raises(RenderingError):
        render_question(PICTURE, ["why?"])
