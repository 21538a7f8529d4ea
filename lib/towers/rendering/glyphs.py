"""GNU Unifont as one table: for every code point a cell of 16 by 16 pixels, black or not.

Plane 0 comes from the font's own text file; the upper planes, which Debian packs as outlines
only, are drawn at 16 pixels, where the outlines lie exactly on the pixels. A glyph of 8 pixels
stands in the left half of its cell. A code point without a glyph has the blank cell.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt16, UInt32
from numpy import ndarray
from PIL import ImageFont

from towers import files
from towers.data import sources
from towers.data.cards import SOURCES

CELL = 16
"""Width and height of a cell, in pixels."""
GAP = 1
"""Blank columns that are kept to the left of a glyph's ink."""
LEAST = 4
"""Columns that a glyph has at least."""
POINTS = 0x110000
REPLACEMENT = 0xFFFD
SURROGATES = slice(0xD800, 0xE000)
LAYOUT = 1
"""Counts the changes of the table's form, so that an older file is never read as a newer one."""


@dataclass(frozen=True)
class Glyphs:
    """The table, read-only.

    Attributes:
        number: of the cell of each code point; 0 is blank. Lone surrogates, which no text file can
            hold, have the cell of U+FFFD, as decoders replace them.
        columns: of the cells, from left to right; bit y is set where row y from the top has ink.
    """

    number: UInt32[ndarray, " points"]
    columns: UInt16[ndarray, "glyphs 16"]

    def crops(self, scale: int = 1) -> tuple[Int64[ndarray, " glyphs"], Int64[ndarray, " glyphs"]]:
        """First column and number of columns that each cell keeps, in pixels.

        One blank column stays to the left of the ink, where the cell has one; the crop ends with
        the ink, but is 4 pixels wide at least, as far as the cell goes; so a blank is 4 wide.

        Args:
            scale: pixels per pixel of the font; the gap and the least width do not grow with it.

        Source: Tschannen et al. 2023, the released renderer.
        """
        ink = self.columns != 0
        inked = ink.any(axis=1)
        first = np.where(inked, ink.argmax(axis=1) * scale, 0)
        last = np.where(inked, (CELL - ink[:, ::-1].argmax(axis=1)) * scale - 1, 0)
        starts = np.maximum(first - GAP, 0)
        ends = np.maximum(last + 1, starts + LEAST)
        return starts, np.minimum(ends, CELL * scale) - starts


@cache
def unifont() -> Glyphs:
    """Unifont, made once into a file of the cache.

    Where the cache cannot be written, the table is made anew in each process.

    Raises:
        DataError: the font's packages cannot be had.
    """
    pins = [SOURCES[name].sha256 for name in ("unifont", "unifont-outlines")]
    digest = files.sha256("\0".join([*pins, str(LAYOUT)]).encode())
    place = f"glyphs/unifont-{digest[:16]}"
    table = files.cached(
        place, _table, ndarray.tobytes, lambda content: np.frombuffer(content, np.uint16)
    )
    table = table.reshape(-1, CELL)
    lines = 2 * POINTS // CELL  # two entries of 16 bits are the number of a cell
    return Glyphs(number=table[:lines].reshape(-1).view("<u4"), columns=table[lines:])


def _table() -> UInt16[ndarray, "rows 16"]:
    """The numbers of all code points, then the columns of all cells, as one array."""
    cells = read_hex(sources.fetch("unifont") / "unifont.hex")
    for point, cell in read_outlines(
        sources.fetch("unifont-outlines") / "unifont_upper.otf"
    ).items():
        cells.setdefault(point, cell)
    number = np.zeros(POINTS, "<u4")
    number[list(cells)] = np.arange(1, len(cells) + 1)
    number[SURROGATES] = number[REPLACEMENT]
    rows = np.stack([np.zeros(CELL, np.uint16), *cells.values()])
    ink = np.unpackbits(rows.astype(">u2").view(np.uint8).reshape(len(rows), CELL, 2), axis=2)
    columns = np.packbits(ink, axis=1, bitorder="little").transpose(0, 2, 1)
    halves = number.view("<u2").reshape(-1, CELL)
    table = np.concatenate([halves, columns.copy().view("<u2")[..., 0]])
    table.flags.writeable = False
    return table


def read_hex(path: Path) -> dict[int, UInt16[ndarray, " 16"]]:
    """Code point -> the cell's rows, from a file of lines "POINT:BITS" in hexadecimal.

    The first bit of a row is its leftmost pixel; 32 digits are a cell of 8 by 16 pixels, 64 one of
    16 by 16.
    """
    cells = {}
    for line in path.read_text(encoding="ascii").splitlines():
        point, _, bits = line.partition(":")
        rows = np.frombuffer(bytes.fromhex(bits), f">u{len(bits) // 32}").astype(np.uint16)
        cells[int(point, 16)] = rows << 8 if len(bits) == 32 else rows
    return cells


def read_outlines(path: Path) -> dict[int, UInt16[ndarray, " 16"]]:
    """Code point -> the cell's rows, drawn from a font of outlines on a grid of 16 pixels.

    Most marks that combine lie to the left of their origin, by the width of their cell: here the
    narrowest, 8 or 16 pixels, that holds the ink; or by 12 if they enclose what they stand on. Of
    the 1,312 marks in plane 0, whose cells are known, all but 40 are then cropped as they should
    be, and these differ by blank columns alone.
    """
    from fontTools.ttLib import TTFont

    font = ImageFont.truetype(str(path), CELL, layout_engine=ImageFont.Layout.BASIC)
    with TTFont(path, lazy=True) as tables:
        points = sorted(tables.getBestCmap())
    return {point: _drawn(font, chr(point)) for point in points}


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> UInt16[ndarray, " 16"]:
    """One cell's rows."""
    mask, (left, top) = font.getmask2(letter, mode="1")
    width, height = mask.size
    canvas = np.zeros((CELL, 3 * CELL), np.uint8)  # the origin is at the second third
    if width * height:
        part = np.array(mask, np.uint8).reshape(height, width) != 0
        canvas[top : top + height, CELL + left : CELL + left + width] = part
    inked = canvas.any(axis=0).nonzero()[0] - CELL
    starts = (0, -8, -12) if len(inked) and inked[-1] >= 0 else (0, -8, -16)
    start = CELL + next(start for start in starts if not len(inked) or start <= inked[0])
    cell = canvas[:, start : start + CELL]
    return np.packbits(cell, axis=1).view(">u2")[:, 0].astype(np.uint16)
