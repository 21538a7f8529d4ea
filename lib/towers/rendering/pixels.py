"""Texts as pictures, black on grey, as a pixel tower reads them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt8, UInt16
from numpy import ndarray

from towers.rendering.glyphs import CELL, unifont
from towers.rendering.layout import PAPER, Placement, Style, check, place, portions

_BITS = (1 << np.arange(CELL)).astype(np.uint16)


def render(
    captions: Sequence[str], size: int = 224, style: Style = PAPER
) -> UInt8[ndarray, "captions size size"]:
    """Each caption as a picture of grey levels, equal to the released renderer's pixel by pixel.

    Every text is rendered: what Unifont does not know is a blank, right-to-left scripts run from
    left to right, marks stand beside their letters, and what does not fit is not drawn.

    Args:
        captions: any texts.
        size: side of the picture, in pixels.
        style: how they are set, if not as in the paper.

    Returns:
        One channel; the paper's towers see three equal ones, scaled to -1 at 0 and 1 at 255.

    Raises:
        RenderingError: no list of texts, or a size below two lines.

    Source: Tschannen et al. 2023, Sec. 4.1, Fig. 6.
    """
    check(captions, size, style)
    images = np.empty((len(captions), size, size), np.uint8)
    for part in portions(captions, style):
        _paint(place(captions[part], size, style), images[part], style)
    return images


def _paint(placement: Placement, images: UInt8[ndarray, "n size size"], style: Style) -> None:
    """Fill pictures with the background and lines of text."""
    images.fill(style.background)
    size, height = images.shape[-1], style.font_size
    caption, line, columns = strips(placement, size, style)
    ink = np.repeat((columns[:, None] & _BITS[:, None]) != 0, style.scale, axis=1).view(np.uint8)
    ink *= np.uint8((style.ink - style.background) % 256)  # modulo 256, as the sum
    ink += np.uint8(style.background)
    whole = size // height
    lines = images[:, : whole * height].reshape(len(images), whole, height, size)
    inside = line < whole
    lines[caption[inside], line[inside]] = ink[inside]
    rest = size - whole * height
    images[caption[~inside], whole * height :] = ink[~inside, :rest]


def strips(
    placement: Placement, size: int, style: Style
) -> tuple[Int64[ndarray, " lines"], Int64[ndarray, " lines"], UInt16[ndarray, "lines size"]]:
    """Caption, number and columns of every line that has a character.

    Args:
        placement: of the characters.
        size: columns of a line.
        style: whose scale is used.

    Returns:
        The columns are stretched to the scale, but not the rows: bit y stands for row y of the
        font.
    """
    caption, line, width = placement.caption, placement.line, placement.width
    new = np.diff(caption, prepend=-1) | np.diff(line, prepend=-1)
    turns = np.flatnonzero(new)
    strip = np.cumsum(new != 0) - 1
    begins = width.cumsum() - width
    run = np.arange(width.sum())
    target = np.repeat(strip * size + placement.x - begins, width) + run
    source = np.repeat(placement.glyph * style.font_size + placement.start - begins, width) + run
    if style.scale > 1:
        source //= style.scale
    columns = np.zeros((len(turns), size), np.uint16)
    columns.ravel()[target] = unifont().columns.ravel()[source]
    return caption[turns], line[turns], columns
