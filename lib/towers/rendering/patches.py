"""Texts as patches: those of the rendered picture that carry ink, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt16
from numpy import ndarray

from towers.rendering.glyphs import CELL
from towers.rendering.layout import PAPER, RenderingError, Style, check, place, portions
from towers.rendering.pixels import render, strips


@dataclass(frozen=True)
class Patches:
    """Patches of many captions, one after the other.

    Attributes:
        pixels: grey levels.
        positions: of each patch in the picture's grid, row by row from 0.
        lengths: patches of each caption; 0 if it has no ink.
        grid: patches along a side of the picture.
        background: grey level without ink.
    """

    pixels: UInt8[ndarray, "total patch patch"]
    positions: Int64[ndarray, " total"]
    lengths: Int64[ndarray, " captions"]
    grid: int
    background: int

    @property
    def sequence_lengths(self) -> Int64[ndarray, " captions"]:
        """Tokens of each caption as the paper counts them: up to its last patch with ink.

        Source: Tschannen et al. 2023, Sec. 4.4 (Fig. 4, 9).
        """
        ends = self.lengths.cumsum()
        found = np.zeros(len(self.lengths), np.int64)
        inked = self.lengths > 0
        found[inked] = self.positions[ends[inked] - 1] + 1
        return found

    def padded(
        self, tokens: int | None = None
    ) -> tuple[
        UInt8[ndarray, "captions tokens pixels"],
        Int64[ndarray, "captions tokens"],
        Bool[ndarray, "captions tokens"],
    ]:
        """The same as one block, with pixels of the background and position 0 as padding.

        Args:
            tokens: patches for each caption; later ones are cut off. As many as the longest has
                if None.

        Returns:
            Pixels, positions, and a mask that is true at patches and false at padding. A caption
            without ink has no true entry at all.

        Raises:
            RenderingError: a negative number of tokens.
        """
        if tokens is not None and tokens < 0:
            raise RenderingError(f"expected 0 tokens or more, or None; got {tokens}")
        if tokens is None:
            tokens = int(self.lengths.max(initial=0))
        mask = np.arange(tokens) < self.lengths[:, None]
        begins = self.lengths.cumsum() - self.lengths
        chosen = (begins[:, None] + np.arange(tokens))[mask]
        area = self.pixels.shape[1] * self.pixels.shape[2]
        pixels = np.full((*mask.shape, area), self.background, np.uint8)
        pixels[mask] = self.pixels.reshape(-1, area)[chosen]
        positions = np.zeros(mask.shape, np.int64)
        positions[mask] = self.positions[chosen]
        return pixels, positions, mask


def to_patches(
    captions: Sequence[str], patch: int = 16, size: int = 224, style: Style = PAPER
) -> Patches:
    """What `render` gives, cut into patches, without the blank ones.

    Where a patch is as high as a line, which is the paper's case, blank patches are never made.

    Args:
        captions: any texts.
        patch: side of a patch, in pixels; divides `size`.
        size: side of the picture.
        style: how the captions are set, if not as in the paper.

    Raises:
        RenderingError: no list of texts, a size below two lines or no multiple of `patch`.
    """
    check(captions, size, style)
    if patch < 1 or size % patch:
        raise RenderingError(f"expected a patch that divides the size {size}; got {patch}")
    made = [
        _of_lines(captions[part], size, style)
        if patch == style.font_size
        else _of_pictures(render(captions[part], size, style), patch, style)
        for part in portions(captions, style)
    ]
    nothing = (np.zeros((0, patch, patch), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))
    pixels, positions, lengths = map(np.concatenate, zip(nothing, *made, strict=True))
    return Patches(pixels, positions, lengths, size // patch, style.background)


def ink_share(
    captions: Sequence[str], patch: int = 16, size: int = 224, style: Style = PAPER
) -> float:
    """Share of all patches of the captions' pictures that carry ink, from 0 to 1.

    Args:
        captions: at least one; the others as in `to_patches`.
        patch: side of a patch.
        size: side of the picture.
        style: how the captions are set.

    Raises:
        RenderingError: no caption, or as `to_patches`.
    """
    if not len(captions):
        raise RenderingError("expected at least one caption to measure; got none")
    patches = to_patches(captions, patch, size, style)
    return float(patches.lengths.mean() / patches.grid**2)


Made = tuple[
    UInt8[ndarray, "total patch patch"], Int64[ndarray, " total"], Int64[ndarray, " captions"]
]


def _of_lines(captions: Sequence[str], size: int, style: Style) -> Made:
    """Patches of lines that are one patch high, cut from columns before there are pixels."""
    side = style.font_size
    caption, line, columns = strips(place(captions, size, style), size, style)
    cells = columns.reshape(len(columns), size // side, side)
    row, column = cells.any(axis=2).nonzero()
    lengths = np.bincount(caption[row], minlength=len(captions))
    positions = line[row] * (size // side) + column
    return _pixels(cells[row, column], style), positions, lengths


def _pixels(
    cells: UInt16[ndarray, "total side"], style: Style
) -> UInt8[ndarray, "total side side"]:
    """Grey levels of cells of columns."""
    flat, side = cells.ravel(), style.font_size
    ink = np.empty((CELL, len(flat)), np.uint8)
    for row in range(CELL):  # rows apart, so that each pass runs over one long stretch of memory
        np.not_equal(flat & np.uint16(1 << row), 0, out=ink[row].view(bool))
    ink *= np.uint8((style.ink - style.background) % 256)  # modulo 256, as the sum
    ink += np.uint8(style.background)
    pieces = ink.view(f"V{side}").T.copy()  # a row of a patch as one item
    pixels = pieces.view(np.uint8).reshape(len(cells), CELL, side)
    return pixels.repeat(style.scale, axis=1)


def _of_pictures(images: UInt8[ndarray, "n size size"], patch: int, style: Style) -> Made:
    """Patches of rendered pictures, for those that are no line high."""
    count, size = len(images), images.shape[-1]
    grid = size // patch
    cut = images.reshape(count, grid, patch, grid, patch).swapaxes(2, 3)
    inked = (cut != style.background).any(axis=(3, 4)).reshape(count, -1)
    positions = inked.nonzero()[1]
    return cut.reshape(count, -1, patch, patch)[inked], positions, inked.sum(axis=1)
