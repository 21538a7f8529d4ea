"""Captions in ten languages as pictures of 224 pixels, beside Pillow with Unifont's outlines.

Both sides fill one array. Pillow is spared the layout: it is given the lines as we break them, and
draws each with one call. It sets letters with the font's own advances and stacks marks that
combine, so the gaps differ; the ink of all other lines must be the same, column by column.
"""

import itertools
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks._captions import captions as real_captions
from towers.data import sources
from towers.rendering import PAPER, render
from towers.rendering.layout import place

METRIC = "text to pictures of 224 pixels, {captions:,} captions in ten languages"
PEER = "Pillow, Unifont"
GOAL = 5.0  # times faster than the peer
PEER_SETTINGS = {"engine": ("basic", "raqm")}
SIZES = {"full": {"captions": 9_000}, "laptop": {"captions": 2_000}, "smoke": {"captions": 40}}

SIDE, LINE = 224, 16
ENGINES = {"basic": ImageFont.Layout.BASIC, "raqm": ImageFont.Layout.RAQM}


def prepare(captions: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(engine), each giving pictures and the lines in them."""
    texts = real_captions(captions)
    lines = broken(texts)
    fonts = _fonts()
    render(texts[:1])  # maps the table of glyphs

    def ours() -> tuple[np.ndarray, list[list[str]]]:
        return render(texts), lines

    def peer(engine: str) -> tuple[np.ndarray, list[list[str]]]:
        font, images = fonts[engine], np.empty((len(lines), SIDE, SIDE), np.uint8)
        for image, broken_text in zip(images, lines, strict=True):
            canvas = Image.new("L", (SIDE, SIDE), PAPER.background)
            draw = ImageDraw.Draw(canvas)
            draw.fontmode = "1"
            for number, line in enumerate(broken_text):
                draw.text((0, number * LINE), line, PAPER.ink, font)
            image[:] = canvas
        return images, lines

    return ours, peer


def _fonts() -> dict[str, ImageFont.FreeTypeFont]:
    """Unifont's outlines by layout engine."""
    path = str(sources.fetch("unifont-outlines") / "unifont.otf")
    return {name: ImageFont.truetype(path, LINE, layout_engine=e) for name, e in ENGINES.items()}


def broken(texts: list[str]) -> list[list[str]]:
    """Each text's lines as the layout breaks them, in lower case."""
    found = []
    for text in texts:
        line = place([text], SIDE).line
        letters = "".join(c.lower() if c.isascii() else c for c in text)
        cuts = [*np.flatnonzero(np.diff(line, prepend=-1)).tolist(), len(line)]
        found.append([letters[a:b] for a, b in itertools.pairwise(cuts)])
    return found


def agree(ours: tuple, peer: tuple) -> bool:
    """The columns with ink are the same in the same order, where no mark combines."""
    font = _fonts()["basic"]
    compared = 0
    for image, theirs, lines in zip(ours[0], peer[0], ours[1], strict=True):
        if all(font.getlength(letter) for line in lines for letter in line):
            if not all(
                np.array_equal(_inked(image, number), _inked(theirs, number))
                for number, line in enumerate(lines)
                if font.getlength(line) <= SIDE
            ):
                return False
            compared += 1
    return compared > len(ours[0]) / 2


def _inked(image: np.ndarray, line: int) -> np.ndarray:
    """Columns of a line that have ink."""
    rows = image[line * LINE : (line + 1) * LINE]
    return rows[:, (rows != PAPER.background).any(axis=0)]
