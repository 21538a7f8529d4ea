"""SVG to pixels, once: a cleaned drawing, rendered on white, in a cache that checks itself.

Letters are drawn with DejaVu Sans, which comes with matplotlib, whatever fonts the machine has and
whatever font the drawing asks for, so that it looks the same everywhere.
"""

import io
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import resvg_py
from PIL import Image

from towers import files
from towers.data.errors import BadImage
from towers.data.images import on_white, open_image, read_bytes
from towers.data.renderer import render
from towers.data.svg_clean import Drawing, clean
from towers.progress import tqdm

SIZE = 256
"""Longest side in pixels of a drawing, where nobody needs a larger one."""
STRETCH = 16
"""A picture more than so many times as long as wide is refused."""
RENDERER = f"resvg {resvg_py.__version__}, 1"
LOOK = 96
"""Pixels along a page's longer side when it is searched for ink."""
FAINT = 8
"""Opacity, of 255, up to which a pixel is no ink."""
MARGIN = 0.04
"""White around a trimmed drawing, of its longer side."""

Box = tuple[float, float, float, float]
Scaled = Callable[[int, int], tuple[int, int]]
"""Width and height of a picture -> those that it will be scaled to."""


def rasterise(svg: bytes, size: int = SIZE, trim: bool = False) -> Image.Image:
    """Draw an SVG on white.

    Args:
        svg: the file's bytes. Nothing outside the file is read, and no script runs.
        size: longest side of the picture in pixels.
        trim: show what is drawn instead of the whole page: without the page's empty rim, and
            with all of a drawing that lies mostly beside its page. A file that gives no size at
            all is always shown so.

    Returns:
        RGB, proportions kept.

    Raises:
        BadImage: it is no SVG, is damaged or hostile, is "stretched", or shows nothing ("blank").
    """
    drawing = clean(svg)
    box = _ink(drawing) if trim or drawing.width is None else (0.0, 0.0, *drawing.page())
    width, height = box[2:]
    if max(width, height) > STRETCH * min(width, height):
        raise BadImage("stretched", f"expected a page, got {width:.3g} x {height:.3g}")
    picture = on_white(render(drawing.document(box, *_sides(box, size))))
    if picture.getextrema() == ((255, 255),) * 3:
        raise BadImage("blank", "the page holds nothing that is not white")
    return picture


def _ink(drawing: Drawing) -> Box:
    """The box around what is drawn, in the page's units, found on small pictures."""
    width, height = drawing.page()
    page = (0.0, 0.0, width, height)
    around = (-width, -height, 3 * width, 3 * height)
    columns, rows = _sides(page, LOOK)
    mask = _mask(drawing, around, 3 * columns, 3 * rows)
    on_page = mask.crop((columns, rows, 2 * columns, 2 * rows))
    beside = drawing.width is None or 2 * _count(on_page) < _count(mask)
    looked, box = page, _around_ink(mask, around) if beside else _around_ink(on_page, page)
    for _ in range(3):  # a small drawing is measured coarsely: look again, closer
        if max(box[2] / looked[2], box[3] / looked[3]) > 0.5:
            break
        looked, box = box, _around_ink(_mask(drawing, box, *_sides(box, LOOK)), box)
    rim = MARGIN * max(box[2:])
    box = (box[0] - rim, box[1] - rim, box[2] + 2 * rim, box[3] + 2 * rim)
    return box if beside else _common(box, page)


def _sides(box: Box, longest: int) -> tuple[int, int]:
    """Width and height in pixels of a box whose longest side is given."""
    scale = longest / max(box[2:])
    return max(1, round(box[2] * scale)), max(1, round(box[3] * scale))


def _mask(drawing: Drawing, box: Box, width: int, height: int) -> Image.Image:
    """Where a part of the drawing holds ink: 255 there, 0 elsewhere."""
    alpha = render(drawing.document(box, width, height)).convert("RGBA").getchannel("A")
    return alpha.point(lambda opacity: 255 * (opacity > FAINT))


def _count(mask: Image.Image) -> int:
    return mask.histogram()[255]


def _around_ink(mask: Image.Image, box: Box) -> Box:
    """The part of a box that holds the mask's ink, a pixel larger on each side."""
    inked = mask.getbbox()
    if inked is None:
        raise BadImage("blank", "nothing is drawn")
    left, top, width, height = box
    x, y = width / mask.width, height / mask.height
    grown = (inked[0] - 1, inked[1] - 1, inked[2] + 1, inked[3] + 1)
    part = (left + grown[0] * x, top + grown[1] * y,
            (grown[2] - grown[0]) * x, (grown[3] - grown[1]) * y)  # fmt: skip
    return _common(part, box)


def _common(first: Box, second: Box) -> Box:
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    return left, top, right - left, bottom - top


@dataclass(frozen=True)
class Raster:
    """The picture of an SVG file, through the cache; a picklable source for `Item.image`.

    Attributes:
        path: of the file.
        size: longest side in pixels, where nobody needs a larger picture.
        trim: as of `rasterise`.
    """

    path: Path
    size: int = SIZE
    trim: bool = False

    def content(self) -> bytes:
        """The original's bytes."""
        return read_bytes(self.path)

    def __call__(self, scaled: Scaled | None = None) -> Image.Image:
        """The picture; rendered now if the cache has none that is whole.

        Args:
            scaled: what the picture will be scaled to; it is drawn so large that no side has to be
                enlarged.

        Raises:
            BadImage: as `rasterise`.
        """
        svg, size = self.content(), self.size
        picture = self._drawn(svg, size)
        for _ in range(2 * (scaled is not None)):  # again where the first sides were round numbers
            wanted = scaled(*picture.size)
            ratio = max(new / old for new, old in zip(wanted, picture.size, strict=True))
            if ratio <= 1:
                break
            size = math.ceil(size * ratio)
            picture = self._drawn(svg, size)
        return picture

    def _drawn(self, svg: bytes, size: int) -> Image.Image:
        shown = " trimmed" if self.trim else ""
        key = files.sha256(f"{RENDERER} {size}{shown} {files.sha256(svg)}".encode())
        place, make = f"raster/{key[:2]}/{key[2:]}.png", partial(rasterise, svg, size, self.trim)
        return files.cached(place, make, _png, open_image, waiting=False)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def prepare(
    paths: Sequence[Path], size: int = SIZE, label: str = "drawing", trim: bool = False
) -> list[str | None]:
    """Rasterise many files over all cores.

    Args:
        paths: SVG files.
        size: longest side in pixels.
        label: for the progress bar.
        trim: as of `rasterise`.

    Returns:
        Per file the short reason why it cannot be drawn, or None if it can.
    """
    rasters = [Raster(path, size, trim) for path in paths]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16) + 1) as pool:  # children do the work
        done = pool.map(_reason, rasters)
        return list(tqdm(done, total=len(rasters), desc=label, disable=None, leave=False))


def _reason(raster: Raster) -> str | None:
    try:
        raster()
    except BadImage as error:
        return error.reason
    return None
