"""Image files reduced to what makes the pixels of their first frame.

A decoder that is given a whole file also reads its metadata, and there hostile files have done
harm again and again, in one version or another: text that inflates without end, a directory whose
65,535 entries all quote the same megabytes, comments joined in quadratic time. So the file's own
frame is walked here, with a budget, and only pixel data is handed on; of EXIF one number is read,
the orientation.
"""

import re
import struct
import zlib

from towers.data.errors import BadImage

MAX_PARTS = 2**19
"""Chunks, segments or blocks in one file."""
MAX_SCANS = 64
"""Scans in one JPEG; encoders write about 10, a bomb thousands, and each costs a full pass."""
MAX_SCANNED = 1_000_000_000
"""Pixels x scans in one JPEG."""
MAX_INFLATED = 2**20
"""Size to which compressed metadata may inflate."""

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_SOI, _EOI, _SOS, _EXIF, _COMMENT, _ADOBE, _JFIF = 0xD8, 0xD9, 0xDA, 0xE1, 0xFE, 0xEE, 0xE0
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_COMPRESSED = {b"zTXt", b"iTXt", b"iCCP"}
_WEBP_PIXELS = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}


def pixels_only(kind: str, data: bytes, max_pixels: float) -> tuple[bytes, int]:
    """The same picture without its metadata, and how it is to be turned.

    Args:
        kind: PNG, JPEG, GIF, WEBP or BMP, as `images.image_type` tells.
        data: the whole file.
        max_pixels: width x height that the file may claim.

    Returns:
        A file of the same type, and the EXIF orientation, 1 to 8 (1 where there is none).

    Raises:
        BadImage: "truncated", "damaged", "too many pixels", "too many scans", "too many parts",
            "metadata bomb", or "unknown type" for a coding that is not read (RLE in BMP).
    """
    return {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "WEBP": _webp, "BMP": _bmp}[kind](
        data, max_pixels
    )


def orientation(exif: bytes) -> int:
    """The orientation that a TIFF-like EXIF block tells, 1 to 8; 1 where it tells none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return 1
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == 0x0112:
            value = int.from_bytes(exif[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _png(data: bytes, max_pixels: float) -> tuple[bytes, int]:
    view, pieces = memoryview(data), [data[:8]]
    position, kind, turn = 8, b"", 1
    for _ in range(MAX_PARTS):
        if kind == b"IEND":
            return b"".join(pieces), turn
        _demand(data, position + 12)
        length, kind = struct.unpack_from(">I4s", data, position)
        start, end = position, position + 12 + length
        _demand(data, end)
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise BadImage("damaged")
        body = view[start + 8 : end - 4]
        if kind == b"IHDR" and length == 13:
            _limit(*struct.unpack_from(">II", body), max_pixels)
        elif kind == b"eXIf":
            turn = orientation(bytes(body))
        elif kind in _PNG_COMPRESSED:
            _refuse_bomb(kind, bytes(body))
        if kind in _PNG_PIXELS:
            pieces.append(view[start:end])
        position = end
    raise BadImage("too many parts")


def _refuse_bomb(kind: bytes, body: bytes) -> None:
    """Refuse compressed text or a profile that inflates beyond the limit."""
    if kind == b"iTXt":
        _, _, rest = body.partition(b"\0")
        if rest[:1] != b"\1":
            return
        compressed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        compressed = body.partition(b"\0")[2][1:]
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(compressed, MAX_INFLATED)
    except zlib.error:
        return  # damaged metadata is dropped like any other
    if inflate.unconsumed_tail:
        raise BadImage("metadata bomb")


def _jpeg(data: bytes, max_pixels: float) -> tuple[bytes, int]:
    position, kept_to, scans, pixels, turn = 2, 0, 0, 0, 1
    pieces = []
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, position)
        if not found:
            raise BadImage("truncated")
        marker, start, position = found.group(1)[0], found.start(), found.end()
        if marker == _EOI:
            return b"".join([*pieces, data[kept_to:position]]), turn
        if marker in (_SOI, 0x01):
            continue
        body, position = position + 2, position + int.from_bytes(data[position : position + 2])
        if marker in _FRAMES:
            height, width = (
                struct.unpack_from(">xHH", data, body) if body + 5 < len(data) else (0, 0)
            )
            pixels = max(pixels, _limit(width, height, max_pixels))
        elif marker == _SOS:
            scans += 1
            if scans > MAX_SCANS or scans * pixels > MAX_SCANNED:
                raise BadImage("too many scans")
        elif (_JFIF < marker <= 0xEF and marker != _ADOBE) or marker == _COMMENT:
            if marker == _EXIF and turn == 1 and data[body : body + 4] == b"Exif":
                turn = orientation(data[body:position])
            pieces.append(data[kept_to:start])
            kept_to = max(position, found.end())
    raise BadImage("too many parts")


def _gif(data: bytes, max_pixels: float) -> tuple[bytes, int]:
    _demand(data, 13)
    _limit(*struct.unpack_from("<HH", data, 6), max_pixels)
    position = 13 + _gif_palette(data[10])
    pieces = [data[:position]]
    for _ in range(MAX_PARTS):
        _demand(data, position + 10)
        start, block = position, data[position]
        if block == 0x21:
            position = _gif_blocks(data, position + 2)
            if data[start + 1] == 0xF9:
                pieces.append(data[start:position])
        elif block == 0x2C:
            width, height = struct.unpack_from("<HH", data, position + 5)
            _limit(width, height, max_pixels)
            position = _gif_blocks(data, position + 11 + _gif_palette(data[position + 9]))
            return b"".join([*pieces, data[start:position], b";"]), 1
        else:
            raise BadImage("damaged")
    raise BadImage("too many parts")


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks(data: bytes, position: int) -> int:
    """Where a chain of sub-blocks ends."""
    for _ in range(MAX_PARTS):
        _demand(data, position + 1)
        length = data[position]
        position += 1 + length
        if not length:
            return position
    raise BadImage("too many parts")


def _webp(data: bytes, max_pixels: float) -> tuple[bytes, int]:
    end = 8 + int.from_bytes(data[4:8], "little")
    _demand(data, max(end, 30))
    pieces, position, turn, frames = [], 12, 1, 0
    for _ in range(MAX_PARTS):
        if position + 8 > end:
            content = b"WEBP" + b"".join(pieces)
            return b"RIFF" + struct.pack("<I", len(content)) + content, turn
        start, body = position, position + 8
        kind, length = struct.unpack_from("<4sI", data, position)
        position = body + length + length % 2
        _demand(data, body + length)
        if kind in (b"VP8X", b"VP8L", b"VP8 "):
            _limit(*_webp_size(kind, data[body : body + 10]), max_pixels)
        if kind == b"EXIF":
            turn = orientation(data[body : body + length])
        elif kind in _WEBP_PIXELS:
            frames += kind == b"ANMF"
            if frames < 2:
                pieces.append(data[start:position])
    raise BadImage("too many parts")


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return tuple(int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return tuple(int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))


def _bmp(data: bytes, max_pixels: float) -> tuple[bytes, int]:
    """Runs (RLE) are decoded without a bound by some readers, and nobody writes them any more."""
    _demand(data, 34)
    if data[14] >= 40:
        width, height, _, compression = struct.unpack_from("<iiII", data, 18)
        _limit(abs(width), abs(height), max_pixels)
        if compression in (1, 2):
            raise BadImage("unknown type")
    return data, 1


def _limit(width: int, height: int, max_pixels: float) -> int:
    if width * height > max_pixels:
        raise BadImage("too many pixels")
    return width * height


def _demand(data: bytes, length: int) -> None:
    if len(data) < length:
        raise BadImage("truncated")
