"""Image files from anywhere, read safely into RGB.

The type comes from the content, never from the name. What a file claims is checked before
anything is decoded, so that a small file cannot ask for a large memory; a file that is not whole
is an error, not a picture with a grey half.
"""

import io
import os
import re
import stat
from pathlib import Path

import numpy as np
from PIL import Image

from towers.data.containers import pixels_only
from towers.data.errors import BadImage, DataError, absent

__all__ = ["BadImage", "DataError", "image_type", "on_white", "open_image", "read_bytes", "shrink"]

MAX_BYTES = 64 * 2**20
"""Encoded size above which a file is refused."""
MAX_PIXELS = 64_000_000
"""Decoded size above which a file is refused, in pixels."""
MAX_SIDE = 2**16 - 1
"""Width or height above which a file is refused: the greatest of a JPEG. To scale a longer line of
pixels takes several times its memory."""

_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_MAGIC = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM....\0\0\0\0",
}
_TYPES = {name: re.compile(magic, re.DOTALL) for name, magic in _MAGIC.items()}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(
    source: Path | str | bytes, max_pixels: float = MAX_PIXELS, size: int | None = None
) -> Image.Image:
    """Read a PNG, JPEG, GIF, WebP or BMP whole.

    Of an animation the first frame is read. EXIF orientation is applied, transparency is laid on
    white, 16-bit, grey, palette and CMYK images become 8-bit RGB.

    Args:
        source: a regular file, or the bytes of one.
        max_pixels: width x height above which the image is refused before it is decoded; a side
            of more than `MAX_SIDE` pixels is refused as well.
        size: longest side of the result in pixels; larger images are scaled down, smaller ones
            left alone. None keeps every pixel. Memory peaks at about 10 bytes per pixel.

    Returns:
        A loaded image in mode RGB.

    Raises:
        BadImage: the image is refused; `.reason` says why in a word or two.
        OSError: the disk fails.
    """
    inside = isinstance(source, bytes)
    name = f"{len(source)} bytes" if inside else repr(str(source))
    data = source if inside else read_bytes(Path(source))
    if not data:
        raise BadImage("empty", f"expected an image, got no bytes from {name}")
    kind = image_type(data)
    if kind is None:
        raise BadImage("unknown type", f"expected PNG, JPEG, GIF, WebP or BMP content in {name}")
    try:
        reduced, turn = pixels_only(kind, data, max_pixels)
        picture = _decode(kind, reduced, max_pixels, size)
    except BadImage as error:
        raise BadImage(error.reason, f"{kind} in {name} is refused") from None
    except MemoryError:
        raise BadImage("out of memory", f"{kind} in {name} is not read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage("too many pixels", f"{kind} in {name} is refused") from None
    except Exception as error:  # a decoder that is fed hostile bytes may raise anything
        cause = " ".join(str(error).split()) or type(error).__name__
        reason = "truncated" if "truncated" in cause.lower() else "damaged"
        raise BadImage(reason, f"{kind} in {name} ({cause[:80]})") from None
    return picture.transpose(_TRANSPOSE[turn]) if turn in _TRANSPOSE else picture


def image_type(data: bytes) -> str | None:
    """The type that the first bytes tell: PNG, JPEG, GIF, WEBP or BMP; None if none of these."""
    return next((kind for kind, magic in _TYPES.items() if magic.match(data)), None)


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file; never waits on a pipe or reads a device.

    Raises:
        BadImage: there is none ("missing"), it is something else ("not a file"), or it holds
            more than `max_bytes` ("too many bytes").
        OSError: the disk fails.
    """
    name = repr(str(path))
    try:
        with open(path, "rb", opener=lambda at, flags: os.open(at, flags | _NO_WAIT)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadImage("not a file", f"expected a regular file at {name}")
            if status.st_size > max_bytes:
                raise BadImage("too many bytes", f"{name} holds more than {max_bytes}")
            return file.read(max_bytes)
    except IsADirectoryError:
        raise BadImage("not a file", f"expected a regular file at {name}") from None
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and not absent(error):
            raise
        raise BadImage("missing", f"cannot read {name} ({type(error).__name__})") from None
    except BadImage:
        raise
    except ValueError:  # a NUL in the name
        raise BadImage("missing", f"cannot read {name}") from None


def on_white(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB, with white behind what is transparent; 16 bits lose the lower 8."""
    if image.mode.startswith("I;16"):
        levels = np.asarray(image)
        grey = (levels >> 8).astype(np.uint8)
        grey[levels == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def shrink(image: Image.Image, size: int | None) -> Image.Image:
    """The image with its longest side at most `size` pixels, its shape kept; never enlarged."""
    if size is None or max(image.size) <= size:
        return image
    ratio = size / max(image.size)
    width, height = (max(1, round(side * ratio)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _clear(image: Image.Image, depth: int) -> object:
    """A PNG's transparent grey or colour as its decoded pixels have it; Pillow gives the file's.

    Of 16-bit colours Pillow keeps the upper bytes: all that share them are transparent then.
    """
    level = image.info["transparency"]
    if image.mode == "L" and depth < 8:
        return (level % 2**depth) * 255 // (2**depth - 1)
    if image.mode == "RGB" and depth == 16:
        return tuple(value >> 8 for value in level)
    return level


def _decode(kind: str, data: bytes, max_pixels: float, size: int | None) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
            raise BadImage("too many pixels")
        if kind == "JPEG" and size is not None:
            image.draft("RGB", (2 * size, 2 * size))  # decodes at 1/2, 1/4 or 1/8, still whole
        image.load()
        if kind == "PNG" and "transparency" in image.info:
            image.info["transparency"] = _clear(image, depth=data[24])
        return shrink(on_white(image), size)
