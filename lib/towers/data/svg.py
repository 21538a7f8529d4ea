"""SVG to pixels, once: a cleaned drawing, rendered on white, in a cache that checks itself.

Letters are drawn with DejaVu Sans, which comes with matplotlib, whatever fonts the machine has, so
that a drawing looks the same everywhere.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import resvg_py
from PIL import Image
from tqdm import tqdm

from towers.data.errors import BadImage, DataError
from towers.data.images import on_white, open_image
from towers.data.svg_clean import Drawing, clean
from towers.files import atomic_write, cache_home, sha256

SIZE = 256
STRETCH = 16  # a page more than so many times as long as wide is refused
RENDERER = f"resvg {resvg_py.__version__}, 1"
FEW = 64  # files below which another process does not pay
DIGEST = 32  # bytes of SHA-256 before each cached PNG


def rasterise(svg: bytes, size: int = SIZE) -> Image.Image:
    """Draw an SVG on white.

    Args:
        svg: the file's bytes. Nothing outside the file is read, and no script runs.
        size: longest side of the picture in pixels.

    Returns:
        RGB, the page's proportions kept.

    Raises:
        BadImage: it is no SVG, is damaged or hostile, or draws nothing ("blank").
    """
    drawing = clean(svg)
    width, height = drawing.page()
    if max(width, height) > STRETCH * min(width, height):
        raise BadImage("stretched", f"expected a page, got {width:.0f} x {height:.0f}")
    scale = size / max(width, height)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    picture = on_white(_render(drawing, (0.0, 0.0, width, height), *sides))
    if picture.getextrema() == ((255, 255),) * 3:
        raise BadImage("blank", "the page holds nothing that is not white")
    return picture


def _render(
    drawing: Drawing, box: tuple[float, float, float, float], width: int, height: int
) -> Image.Image:
    fonts = {"font_files": [_font()]} if drawing.text else {}
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=drawing.document(box, width, height),
            skip_system_fonts=True,
            **fonts,
            **dict.fromkeys(("font_family", "serif_family", "sans_serif_family"), "DejaVu Sans"),
        )
    except ValueError as error:
        raise BadImage("not drawable", " ".join(str(error).split())[:120]) from None
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


@cache
def _font() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")


@dataclass(frozen=True)
class Raster:
    """The picture of an SVG file, through the cache; a picklable source for `Item.image`."""

    path: Path
    size: int = SIZE

    def content(self) -> bytes:
        """The original's bytes."""
        return self.path.read_bytes()

    def __call__(self) -> Image.Image:
        """The picture; rendered now if the cache has none that is whole.

        Raises:
            BadImage: as `rasterise`.
        """
        svg = self.content()
        place = _place(svg, self.size)
        if (found := _cached(place)) is not None:
            return found
        picture = rasterise(svg, self.size)
        buffer = io.BytesIO()
        picture.save(buffer, "png")
        png = buffer.getvalue()
        atomic_write(place, bytes.fromhex(sha256(png)) + png)
        return picture


def _place(svg: bytes, size: int) -> Path:
    key = sha256(f"{RENDERER} {size} {sha256(svg)}".encode())
    return cache_home() / "raster" / key[:2] / f"{key[2:]}.png"


def _cached(place: Path) -> Image.Image | None:
    """The cached picture, or None if there is none or its bytes are not those that were written."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    png = content[DIGEST:]
    if content[:DIGEST].hex() != sha256(png):
        return None
    return open_image(png)


def prepare(paths: Sequence[Path], size: int = SIZE, label: str = "drawing") -> list[str | None]:
    """Rasterise many files over all cores.

    Each core gets a process of its own that runs this module and nothing of the caller's, so that
    it works from notebooks and from scripts without a main guard alike.

    Args:
        paths: SVG files.
        size: longest side in pixels.
        label: for the progress bar.

    Returns:
        Per file the short reason why it cannot be drawn, or None if it can.

    Raises:
        DataError: a process died.
    """
    if len(paths) < FEW:
        return [_reason(path, size) for path in paths]
    workers = min(os.cpu_count() or 1, 16)
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(paths), desc=label, disable=None, leave=False) as bar,
    ):
        shares = [paths[start::workers] for start in range(workers)]
        done = list(pool.map(lambda share: _elsewhere(share, size, bar), shares))
    found: list[str | None] = [None] * len(paths)
    for start, reasons in enumerate(done):
        found[start::workers] = reasons
    return found


def _elsewhere(paths: Sequence[Path], size: int, bar: tqdm) -> list[str | None]:
    """The reasons of one share of the files, from a process of its own."""
    with tempfile.TemporaryFile("w+") as orders:
        orders.write("\n".join([str(size), *map(str, paths)]))
        orders.seek(0)
        command = [sys.executable, "-m", __name__]
        with subprocess.Popen(command, stdin=orders, stdout=subprocess.PIPE, text=True) as process:
            reasons = []
            for line in process.stdout:
                reasons.append(json.loads(line))
                bar.update()
    if process.returncode or len(reasons) != len(paths):
        raise DataError(
            f"expected {len(paths)} drawings from a process, got {len(reasons)} before it ended "
            f"with {process.returncode}; run again"
        )
    return reasons


def _reason(path: Path, size: int) -> str | None:
    try:
        Raster(path, size)()
    except BadImage as error:
        return error.reason
    return None


def _work() -> None:
    """Read a size and paths, a line each; write a reason as JSON for each path."""
    size, *paths = sys.stdin.read().split("\n")
    for path in paths:
        print(json.dumps(_reason(Path(path), int(size))), flush=True)


if __name__ == "__main__":
    _work()
