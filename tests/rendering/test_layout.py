"""What is drawn of a text, and what is lost."""

import pytest

from towers.rendering import RenderingError, Style, drawn
from towers.rendering.layout import place


def test_what_fits_is_counted():
    # A W is 8 wide in a cell: 216 to a line's rule, so 26 stand before the right end reaches 216.
    assert drawn(["", "cat", "日" * 800, "l" * 800]).tolist()[:2] == [0, 3]
    # An l is 6 wide: the ends 6, 12, ... are in line end // 218, of which there are 14 in 224.
    assert drawn(["l" * 800]).tolist() == [(14 * 218 - 1) // 6]
    assert drawn(["l" * 800], 2240).tolist() == [768]
    assert drawn(["l" * 800], 2240, Style(characters=None)).tolist() == [800]


def test_monospaced_lines_hold_what_the_rule_lets_them():
    style = Style(monospace=True)
    # Right ends 16, 32, ... are in line end // (64 - 16): 2 in the first of 4 lines, then 3 each.
    assert drawn(["x" * 50], 64, style).tolist() == [2 + 3 * 3]


def test_words_stay_whole_and_fill_lines_to_the_edge():
    style = Style(monospace=True, word_wrap=True)
    # Four cells a line: "aa ", "bbb ", "c dd", "eeee"; the space after "dd" is in none.
    assert drawn(["aa bbb c dd eeee"], 64, style).tolist() == [3 + 4 + 4 + 4]
    # "abcdefg" fits in no line and is broken: "abcd", "efg ", "hi ", "jkl "; "mno" is lost.
    assert drawn(["abcdefg hi jkl mno"], 64, style).tolist() == [4 + 4 + 3 + 4]


def test_a_text_that_fills_its_line_to_the_edge_does_not_look_at_the_next_one():
    style = Style(monospace=True, word_wrap=True)
    placed = place(["a bc", "d"], 64, style)
    assert placed.line.tolist() == [0, 0, 0, 0, 0]
    assert placed.x.tolist() == [0, 16, 32, 48, 0]


def test_texts_of_several_portions_are_counted_each():
    assert drawn(["l" * 800, "cat"] * 60).tolist() == [508, 3] * 60


@pytest.mark.parametrize("level", [-1, 256])
def test_grey_levels_are_bytes(level):
    for name in ("ink", "background"):
        with pytest.raises(RenderingError, match="grey levels from 0 to 255"):
            Style(**{name: level})
    assert Style(ink=255, background=0).ink == 255


def test_as_many_characters_are_taken_as_are_asked_for():
    for count in (0, 1, 3):
        assert drawn(["cats"], style=Style(characters=count)).tolist() == [count]
    with pytest.raises(RenderingError, match="expected 0 characters or more, or None; got -1"):
        Style(characters=-1)


def test_a_single_text_is_no_list():
    with pytest.raises(RenderingError, match="put a single one in a list"):
        drawn("cat")
