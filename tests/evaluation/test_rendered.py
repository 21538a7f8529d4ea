"""What rendering keeps: counted by hand on texts of known size."""

import pytest

from towers.evaluation import rendered
from towers.rendering import Style

# the last code point is assigned to nobody for ever
BLANK = "\U0010ffff"
TEXTS = {
    # at 48 pixels, monospaced: a letter whose end is at e is in line e // 32, of lines 0 to 2
    "short": ["a", "b"],
    "long": ["abcdef", "c"],
    "strange": [f"a{BLANK}", f"{BLANK} "],
}


@pytest.fixture
def counted():
    return rendered.by_language(TEXTS, 48, Style(monospace=True)).set_index("language")


def test_what_does_not_fit_is_lost(counted):
    assert counted.cut.to_dict() == {"short": 0, "long": 1, "strange": 0}
    assert counted.lost["short"] == 0
    assert counted.lost["long"] == pytest.approx(1 / 7)  # the f
    assert counted.characters["long"] == 3.5


def test_characters_without_a_glyph_are_counted_and_spaces_are_not(counted):
    assert counted.unknown["short"] == 0
    assert counted.unknown["strange"] == pytest.approx(2 / 3)


def test_a_letter_inks_its_patch_of_nine(counted):
    assert counted.ink["short"] == 1 / 9


def test_records_weigh_languages_by_their_texts_and_characters(counted):
    rows = rendered.evaluate(counted.reset_index(), "toys")
    of = {(row.at.get("language"), row.metric): row for row in rows}
    assert {row.data for row in rows} == {"toys"}
    assert of[None, "languages"].value == 3
    assert of[None, "languages"].n == 6
    assert of[None, "texts cut"].value == pytest.approx(1 / 6)
    assert of[None, "unknown characters"].value == pytest.approx(2 / 3 * 4 / 13)
    assert of["long", "texts cut"].value == 1 / 2
    assert of["long", "texts cut"].low < 1 / 2 < of["long", "texts cut"].high
