"""What is drawn of a text, and what is lost."""

import pytest

from towers.rendering import RenderingError, Style, drawn


def test_what_fits_is_counted():
    # A W is 8 wide in a cell: 216 to a line's rule, so 26 stand before the right end reaches 216.
    assert drawn(["", "cat", "日" * 800, "l" * 800]).tolist()[:2] == [0, 3]
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


def test_a_single_text_is_no_list():
    with pytest.raises(RenderingError, match="put a single one in a list"):
        drawn("cat")
