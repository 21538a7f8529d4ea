"""The explorer with a kernel shows what the library renders."""

import io

import numpy as np
from PIL import Image

from towers.rendering import Style, render
from towers.widgets import live_text_explorer


def shown(box) -> np.ndarray:
    """The picture, at its own size."""
    return np.asarray(Image.open(io.BytesIO(box.children[-1].value)))[::2, ::2]


def test_typing_and_every_style_draw_anew():
    box = live_text_explorer("cat")
    entry, styles, larger, sums, _ = box.children
    np.testing.assert_array_equal(shown(box), render(["cat"])[0])
    assert sums.value == "2 of 196 patches carry ink; 3 characters are drawn"
    entry.value = "two cats 鱻"
    larger.value = 32
    for control in styles.children:
        control.value = True
    style = Style(font_size=32, monospace=True, word_wrap=True)
    np.testing.assert_array_equal(shown(box), render(["two cats 鱻"], style=style)[0])
