"""Packed patches are the rendered picture's own, without the blank ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rendering import oracle
from tests.rendering.texts import HARD, any_text
from towers.rendering import RenderingError, Style, ink_share, patches, render, to_patches


def assert_cut(texts: list[str], patch: int, size: int, style: Style) -> None:
    """Patches, positions and lengths equal those of the cut pictures."""
    packed = to_patches(texts, patch, size, style)
    pieces, positions, lengths = [], [], []
    for image in render(texts, size, style):
        found, places = oracle.cut(image, patch, style.background)
        pieces += found
        positions += places
        lengths.append(len(found))
    assert packed.pixels.shape == (len(pieces), patch, patch)
    assert packed.pixels.dtype == np.uint8
    np.testing.assert_array_equal(packed.pixels, np.array(pieces).reshape(-1, patch, patch))
    assert packed.positions.tolist() == positions
    assert packed.lengths.tolist() == lengths
    assert packed.grid == size // patch


@pytest.mark.parametrize(
    ("patch", "size", "options"),
    [
        (16, 224, {}),
        (16, 64, {"word_wrap": True}),
        (16, 64, {"ink": 255, "background": 3, "monospace": True}),
        (32, 96, {"font_size": 32}),
        (16, 96, {"font_size": 32}),
        (8, 64, {}),
        (32, 224, {}),
        (14, 224, {}),
        (1, 32, {}),
    ],
)
def test_patches_are_those_of_the_picture(patch, size, options):
    assert_cut(HARD, patch, size, Style(**options))


@given(texts=st.lists(any_text, max_size=5), word_wrap=st.booleans())
@settings(max_examples=60)
def test_patches_of_any_text_are_those_of_its_picture(texts, word_wrap):
    assert_cut(texts, 16, 48, Style(word_wrap=word_wrap))


def test_no_picture_is_made_where_patches_are_lines_high(monkeypatch):
    monkeypatch.setattr(patches, "render", None)
    assert to_patches(["cat"]).lengths.tolist() == [2]
    with pytest.raises(TypeError):
        to_patches(["cat"], patch=8)


def test_captions_may_lack_ink_or_be_none():
    packed = to_patches(["", "a", " "])
    assert packed.lengths.tolist() == [0, 1, 0]
    assert packed.sequence_lengths.tolist() == [0, 1, 0]
    nothing = to_patches([])
    assert nothing.pixels.shape == (0, 16, 16)
    assert nothing.lengths.shape == (0,)


@given(texts=st.lists(any_text, min_size=1, max_size=5), tokens=st.none() | st.integers(0, 12))
@settings(max_examples=40)
def test_padding_puts_each_patch_in_its_place(texts, tokens):
    style = Style(background=9)
    packed = to_patches(texts, 16, 48, style)
    pixels, positions, mask = packed.padded(tokens)
    room = max(packed.lengths) if tokens is None else tokens
    assert pixels.shape == (len(texts), room, 256)
    for row, text in enumerate(texts):
        alone = to_patches([text], 16, 48, style)
        count = min(room, len(alone.pixels))
        assert mask[row].tolist() == [True] * count + [False] * (room - count)
        np.testing.assert_array_equal(pixels[row, :count], alone.pixels[:count].reshape(-1, 256))
        assert (pixels[row, count:] == 9).all()
        assert positions[row].tolist() == [*alone.positions[:count], *[0] * (room - count)]


def test_padding_may_have_no_room_at_all():
    pixels, positions, mask = to_patches(["a", ""]).padded(0)
    assert (pixels.shape, positions.shape, mask.shape) == ((2, 0, 256), (2, 0), (2, 0))


def test_a_sequence_is_as_long_as_its_last_patch_with_ink():
    texts = ["", "a", "a          " * 5 + "a", "x" * 60]
    expected = [max(oracle.cut(oracle.picture(text), 16)[1], default=-1) + 1 for text in texts]
    assert to_patches(texts).sequence_lengths.tolist() == expected
    assert expected[2] > to_patches(texts).lengths[2]  # it has blank patches within


def test_share_of_ink_counts_patches():
    assert ink_share([""]) == 0
    assert ink_share(["█" * 100], size=32) == 3 / 4  # the first line ends early, by rule 4
    assert ink_share(["", "i"]) == 1 / (2 * 14**2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_patches(["a"], patch=15), "divides the size 224; got 15"),
        (lambda: to_patches(["a"], patch=0), "divides the size 224; got 0"),
        (lambda: to_patches("a"), "expected a list"),
        (lambda: to_patches(["a"]).padded(-1), "0 tokens or more.* got -1"),
        (lambda: ink_share([]), "at least one caption"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(RenderingError, match=message):
        call()
