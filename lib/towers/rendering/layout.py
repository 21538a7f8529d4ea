"""Where each character of a text goes: the released renderer's rules, over many texts at once.

Characters stand side by side from left to right, whatever their script, in lines as high as the
font. The rules, in order:

1. A to Z become a to z; other letters keep their case.
2. Only the first 768 code points count.
3. A glyph is cropped (`Glyphs.crops`), or keeps its whole cell if the type is monospaced.
4. A character whose right end lies `end` pixels from the beginning of the text, all on one line, is
   in line `end // (size - widest)`, where `widest` is the width of the text's widest glyph. So
   words are broken anywhere, and lines end early rather than late.
5. Lines that do not fit are not drawn; one that fits in part is drawn in part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Int64, UInt32
from numpy import ndarray

from towers.rendering.glyphs import CELL, unifont

SPACE = ord(" ")
BUDGET = 2**14
"""Characters that are worked on at a time: few enough for a processor's cache."""


class RenderingError(ValueError):
    """Text cannot be rendered in the way that is asked for; the message is one line."""


@dataclass(frozen=True)
class Style:
    """How text is set; the defaults are the paper's.

    Attributes:
        lower: turn A to Z into a to z.
        characters: code points that count; None for all of them.
        monospace: keep the whole cell of each glyph, 16 pixels at the usual font size.
        word_wrap: break lines at spaces, where a word fits into a line at all, instead of anywhere
            (rule 4). Lines are filled to the edge; no line but the first begins with a space.
        font_size: height of a line, in pixels: 16, 32, 48, ... The font is one of bitmaps, exact at
            multiples of 16 only; the released renderer blurs it at others, this one refuses.
        ink: grey level of letters, 0 to 255.
        background: grey level around them.

    Raises:
        RenderingError: a value is none of these, or ink and background are the same.

    Source: Tschannen et al. 2023, Sec. 4.1 and the released renderer.
    """

    lower: bool = True
    characters: int | None = 768
    monospace: bool = False
    word_wrap: bool = False
    font_size: int = CELL
    ink: int = 0
    background: int = 127

    def __post_init__(self) -> None:
        if self.font_size < CELL or self.font_size % CELL:
            raise RenderingError(
                f"expected a font size of 16, 32, 48, ... pixels; got {self.font_size}"
            )
        if not (0 <= self.ink < 256 and 0 <= self.background < 256) or self.ink == self.background:
            raise RenderingError(
                "expected two different grey levels from 0 to 255 for ink and background; got "
                f"{self.ink} and {self.background}"
            )
        if self.characters is not None and self.characters < 0:
            raise RenderingError(f"expected 0 characters or more, or None; got {self.characters}")

    @property
    def scale(self) -> int:
        """Pixels per pixel of the font, in both directions."""
        return self.font_size // CELL


PAPER = Style()


@dataclass(frozen=True)
class Placement:
    """Characters that are drawn, in the order of the text.

    Attributes:
        caption: number of the caption that a character belongs to.
        glyph: number of its cell in the table.
        line: from the top, from 0.
        x: its first column.
        start: first column of the cell that is drawn, at the style's scale.
        width: columns.
    """

    caption: Int64[ndarray, " characters"]
    glyph: Int64[ndarray, " characters"]
    line: Int64[ndarray, " characters"]
    x: Int64[ndarray, " characters"]
    start: Int64[ndarray, " characters"]
    width: Int64[ndarray, " characters"]


def check(captions: Sequence[str], size: int, style: Style) -> None:
    """Refuse what is no list of texts, or a picture too small for a line.

    Raises:
        RenderingError: so it is.
    """
    if isinstance(captions, str) or not all(isinstance(caption, str) for caption in captions):
        raise RenderingError("expected a list of captions, each a str; put a single one in a list")
    if size < 2 * style.font_size:
        raise RenderingError(
            f"expected a size of at least {2 * style.font_size}, twice the font's; got {size}"
        )


def portions(captions: Sequence[str], style: Style) -> Iterator[slice]:
    """Slices of captions, each about as many characters as a processor's cache likes."""
    most = style.characters if style.characters is not None else np.iinfo(np.int64).max
    weights = np.fromiter((min(len(text), most) + CELL for text in captions), np.int64)
    cuts = np.flatnonzero(np.diff(weights.cumsum() // BUDGET)) + 1
    edges = [0, *cuts.tolist(), len(captions)] if len(captions) else []
    return map(slice, edges[:-1], edges[1:])


def place(captions: Sequence[str], size: int, style: Style = PAPER) -> Placement:
    """Lay out each caption on a square of its own.

    Args:
        captions: any texts; what Unicode has not assigned, or Unifont lacks, is a blank.
        size: side of the square, in pixels.
        style: how.
    """
    points, lengths = _points(captions, style)
    if style.lower:
        points = np.where((points >= ord("A")) & (points <= ord("Z")), points + 32, points)
    glyph = unifont().number[points].astype(np.int64)
    starts, widths = _crops(style.scale, style.monospace)
    width = widths[glyph]
    caption = np.repeat(np.arange(len(captions)), lengths)
    edges = np.concatenate([[0], width.cumsum()])  # of all characters, on one endless line
    if style.word_wrap:
        spaces = points == SPACE
        line = _lines_by_words(edges, spaces, lengths, size, -(-size // style.font_size))
    else:
        line = _lines(edges, lengths, size)
    kept = np.flatnonzero((line >= 0) & (line * style.font_size < size))
    caption, glyph, line = caption[kept], glyph[kept], line[kept]
    left = edges[kept]
    turns = np.flatnonzero(np.diff(caption, prepend=-1) | np.diff(line, prepend=-1))
    first = np.repeat(left[turns], np.diff(turns, append=len(kept)))
    return Placement(caption, glyph, line, left - first, starts[glyph], width[kept])


def drawn(
    captions: Sequence[str], size: int = 224, style: Style = PAPER
) -> Int64[ndarray, " captions"]:
    """How many characters of each caption are drawn, in whole or in part; the rest is lost.

    Args:
        captions: any texts.
        size: side of the picture, in pixels.
        style: how they are set. Spaces that `word_wrap` leaves out are not counted.

    Raises:
        RenderingError: no list of texts, or a size below two lines.
    """
    check(captions, size, style)
    counts = np.zeros(len(captions), np.int64)
    for part in portions(captions, style):
        caption = place(captions[part], size, style).caption
        counts[part] = np.bincount(caption, minlength=part.stop - part.start)
    return counts


@cache
def _crops(
    scale: int, monospace: bool
) -> tuple[Int64[ndarray, " glyphs"], Int64[ndarray, " glyphs"]]:
    """First column and width of each cell."""
    starts, widths = unifont().crops(scale)
    return (starts * 0, widths * 0 + CELL * scale) if monospace else (starts, widths)


def _points(
    captions: Sequence[str], style: Style
) -> tuple[UInt32[ndarray, " characters"], Int64[ndarray, " captions"]]:
    """Code points of all captions, one after the other, and how many each has."""
    cut = [caption[: style.characters] for caption in captions]
    points = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), "<u4")
    return points, np.fromiter(map(len, cut), np.int64, len(cut))


def _lines(
    edges: Int64[ndarray, " edges"], lengths: Int64[ndarray, " captions"], size: int
) -> Int64[ndarray, " characters"]:
    """The line of each character by rule 4."""
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return np.zeros(0, np.int64)
    begins = lengths.cumsum() - lengths
    widest = np.maximum.reduceat(np.diff(edges), begins)
    ends = edges[1:] - np.repeat(edges[begins], lengths)
    return ends // np.repeat(size - widest, lengths)


def _lines_by_words(
    edges: Int64[ndarray, " edges"],
    spaces: Bool[ndarray, " characters"],
    lengths: Int64[ndarray, " captions"],
    size: int,
    lines: int,
) -> Int64[ndarray, " characters"]:
    """The line of each character where words stay whole; -1 if it is in none.

    A line takes what fits. If a text goes on, the line is cut back to the last place before or
    after a space, if it has one; the next line begins with what is no space.
    """
    count = len(spaces)
    finish = lengths.cumsum()
    at = finish - lengths
    numbers = np.arange(count + 1)
    beside = np.concatenate([[True], spaces[:-1] | spaces[1:], [True]])[: count + 1]
    cut = np.maximum.accumulate(np.where(beside, numbers, 0))
    solid = np.concatenate([~spaces, [True]])
    word = np.minimum.accumulate(np.where(solid, numbers, count)[::-1])[::-1]
    steps = np.zeros((lines, 2, len(lengths)), np.int64)
    for number in range(lines):
        fits = np.searchsorted(edges, edges[at] + size, side="right") - 1
        whole = fits >= finish
        end = np.where(whole, finish, np.where(cut[fits] > at, cut[fits], fits))
        steps[number] = at, end
        at = np.minimum(np.where(whole, finish, word[end]), finish)
    line = np.full(count, -1)
    spans = (steps[:, 1] - steps[:, 0]).ravel()
    index = np.arange(spans.sum()) + np.repeat(steps[:, 0].ravel() - spans.cumsum() + spans, spans)
    line[index] = np.repeat(np.repeat(np.arange(lines), len(lengths)), spans)
    return line
