"""Tar files read without trust.

Python's own `tarfile` has looped for ever on negative sizes and spent hours on long headers
(CVE-2025-8194, CVE-2024-6232) in versions that are still in use, and falls silent at the first
damaged header. This reader knows what shards are made of: plain, uncompressed ustar, GNU and pax
archives of regular files. It allocates no more than a header asks within its limit, moves only
forwards, and after a damaged header goes on with the next sound one.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
MAX_HEADER_BYTES = 2**16
"""Size above which a long name or a pax header is damage."""
_REACH = 2**20
"""Empty bytes after which an archive has ended, whatever may follow."""
_FILES = frozenset(b"0\x007")
_FOLDER, _LONG_NAME, _PAX = b"5Lx"
_ABOUT_THE_NEXT = frozenset(b"LKxg")  # long name, long link, pax, pax for all
_CHECKSUM = slice(148, 156)


@dataclass(frozen=True)
class Entry:
    """One member of a tar, or damage met instead of one.

    Attributes:
        name: as it stands in the tar: to be distrusted; undecodable bytes are lone surrogates.
        offset: where its content starts.
        length: of its content, in bytes.
        fault: None for a regular file that is whole; else "not a file", "truncated archive" or
            "damaged header".
    """

    name: str
    offset: int
    length: int
    fault: str | None = None


def entries(file: BinaryIO) -> Iterator[Entry]:
    """The members of a seekable tar in order, folders left out; stretches of damage once each."""
    end = file.seek(0, os.SEEK_END)
    extra: dict[str, str] = {}
    for header, position, size in _headers(file, end):
        if size is None:
            fault = "damaged header" if position < end else "truncated archive"
            yield Entry("", position, 0, fault)
        elif header[156] in _ABOUT_THE_NEXT:
            if size > MAX_HEADER_BYTES or position + size > end:
                yield Entry("", position, size, "damaged header")
            else:
                extra |= _extra(header[156], file.read(size))
            continue
        else:
            yield from _member(header, position, size, extra, end)
        extra = {}


def _headers(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int | None]]:
    """Sound headers with the place and size of what follows; None as a size tells of damage."""
    position, damaged, empty, cut = 0, False, False, False
    while position < end:
        file.seek(position)
        header = file.read(BLOCK)
        size, empty = _size(header), not any(header)
        position = _next_content(file, position, end) if empty else position + BLOCK
        cut = position + (size or 0) > end
        if size is not None:
            yield header, position, size
            position += _padded(size)
        elif not damaged and not (empty and position == end):
            yield header, position, None
        damaged = size is None
    if not empty and not cut:  # a whole archive ends in empty blocks
        yield b"", end, None


def _member(
    header: bytes, position: int, size: int, extra: dict[str, str], end: int
) -> Iterator[Entry]:
    name, kind = extra.get("path") or _name(header), header[156]
    if kind == _FOLDER or name.endswith("/"):
        return
    fault = None
    if extra.get("size", str(size)) != str(size):  # for 8 GB and more, or a trap
        fault = "damaged header"
    elif kind not in _FILES or any(key.startswith("GNU.sparse") for key in extra):
        fault = "not a file"
    elif position + size > end:
        fault = "truncated archive"
    yield Entry(name, position, size, fault)


def _next_content(file: BinaryIO, position: int, end: int) -> int:
    """The first block that is not empty: none after the end of a sound archive, else `end`."""
    file.seek(position)
    for start in range(position, min(end, position + _REACH), 128 * BLOCK):
        piece = file.read(128 * BLOCK)
        if rest := piece.lstrip(b"\0"):
            return start + (len(piece) - len(rest)) // BLOCK * BLOCK
    return end


def _size(header: bytes) -> int | None:
    """The size that a sound header gives; None for a damaged one."""
    if len(header) < BLOCK:
        return None
    checksum = _octal(header[_CHECKSUM])
    if checksum != sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" "):
        return None
    field = header[124:136]
    if field[0] == 0x80:  # GNU's binary form of large numbers
        return int.from_bytes(field[1:])
    return _octal(field)


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if all(byte in b"01234567" for byte in digits) else None


def _name(header: bytes) -> str:
    name, prefix = (field.split(b"\0")[0] for field in (header[:100], header[345:500]))
    posix = header[257:263] == b"ustar\0" and prefix
    return _text(prefix + b"/" + name if posix else name)


def _extra(kind: int, body: bytes) -> dict[str, str]:
    """What a long-name or pax header says of the member after it."""
    if kind == _LONG_NAME:
        return {"path": _text(body.split(b"\0")[0])}
    found = {}
    while body and kind == _PAX:  # records of "length key=value\n", the length counting itself
        digits = body[:8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        if not length or length > len(body):
            break
        key, _, value = body[len(digits) + 1 : length - 1].partition(b"=")
        found[_text(key)] = _text(value)
        body = body[length:]
    return found


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
