"""The table of glyphs against the font's own files."""

import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.rendering import oracle
from towers.data import sources
from towers.rendering.glyphs import Glyphs, read_hex, read_outlines, unifont


def bits(point: int) -> str:
    """Digits of a cell, as the font's text file writes one of 16 by 16."""
    columns = unifont().columns[unifont().number[point]]
    rows = ["".join(str(int(c) >> y & 1) for c in columns) for y in range(16)]
    return "".join(f"{int(row, 2):04X}" for row in rows)


def cropped(rows: np.ndarray) -> list[int]:
    """Columns of a cell that are kept, by the crop of the library."""
    columns = [sum((int(row) >> 15 - x & 1) << y for y, row in enumerate(rows)) for x in range(16)]
    table = Glyphs(np.zeros(1, np.uint16), np.array([columns], np.uint16))
    (start,), (width,) = table.crops()
    return columns[start : start + width]


def inked(columns: list[int]) -> list[int]:
    """Columns from the first to the last with ink."""
    kept = [number for number, column in enumerate(columns) if column]
    return columns[kept[0] : kept[-1] + 1]


def test_letter_a_is_as_the_font_has_it_in_the_left_half():
    rows = bytes.fromhex("00000000182424 42427E424242420000")
    assert bits(ord("A")) == "".join(f"{row:02X}00" for row in rows)


def test_plane_0_is_the_hex_file():
    assert len(oracle.hex_lines()) == 57_086
    for point in [*range(0x600), *range(0x600, 0x10000, 37)]:
        expected = [sum(row[x] << y for y, row in enumerate(oracle.cell(point))) for x in range(16)]
        assert unifont().columns[unifont().number[point]].tolist() == expected, hex(point)


@pytest.mark.slow
def test_outlines_drawn_at_16_pixels_are_the_bitmaps_but_for_where_some_marks_stand():
    drawn = read_outlines(sources.fetch("unifont-outlines") / "unifont.otf")
    known = read_hex(sources.fetch("unifont") / "unifont.hex")
    other = [point for point, rows in known.items() if (drawn[point] != rows).any()]
    assert len(other) == 254
    crops = [[cropped(rows) for rows in (drawn[point], known[point])] for point in other]
    assert sum(ours != theirs for ours, theirs in crops) == 40
    assert all(inked(ours) == inked(theirs) for ours, theirs in crops)


def test_upper_planes_are_there():
    font = ImageFont.truetype(sources.fetch("unifont-outlines") / "unifont_upper.otf", 16)
    for point in [*map(ord, "😀🚀𐍈𝄞"), *range(0x10000, 0x1000C), *range(0x1F300, 0x1F6D0, 8)]:
        canvas = Image.new("1", (16, 16))
        ImageDraw.Draw(canvas).text((0, 0), chr(point), 1, font)
        ink = np.array(canvas) * (1 << np.arange(16))[:, None]
        columns = unifont().columns[unifont().number[point]]
        assert columns.tolist() == ink.sum(axis=0).tolist(), hex(point)
    assert np.count_nonzero(unifont().number[0x10000:]) == 13_547


def test_what_has_no_glyph_is_blank_and_surrogates_are_replaced():
    assert unifont().number[[0xE000, 0x10FFFF, 0x30000]].tolist() == [0, 0, 0]
    assert not unifont().columns[0].any()
    assert set(unifont().number[0xD800:0xE000]) == {unifont().number[0xFFFD]}


@pytest.mark.parametrize(
    ("inked", "scale", "start", "width"),
    [
        ([], 1, 0, 4),
        ([], 2, 0, 4),
        ([0], 1, 0, 4),
        ([0, 7], 1, 0, 8),
        ([3], 1, 2, 4),
        ([3, 9], 1, 2, 8),
        ([15], 1, 14, 2),  # the cell ends before the least width does
        ([0, 15], 1, 0, 16),
        ([3], 2, 5, 4),
        ([15], 2, 29, 3),
    ],
)
def test_a_crop_keeps_a_gap_and_a_least_width(inked, scale, start, width):
    columns = np.zeros((1, 16), np.uint16)
    columns[0, inked] = 1
    starts, widths = Glyphs(np.zeros(1, np.uint16), columns).crops(scale)
    assert (starts.tolist(), widths.tolist()) == ([start], [width])


def test_the_made_table_loads_at_once():
    unifont()
    unifont.cache_clear()
    start = time.perf_counter()
    unifont().columns[unifont().number[ord("a")]].sum()
    assert time.perf_counter() - start < 0.3


def test_the_table_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        unifont().columns[0, 0] = 1
