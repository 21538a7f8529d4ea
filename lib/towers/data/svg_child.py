"""The process in which SVGs are rendered, apart from ours; see `towers.data.renderer`.

It is run as a script, so that it starts in 50 ms: it knows resvg and nothing of the library.
Requests and replies are pieces of bytes, each after its length in four bytes.
"""

import struct
import sys
from typing import BinaryIO

MAX_MEMORY = 2 * 2**30
"""Address space of the process, in bytes, where the system can limit it."""
LENGTH = struct.Struct(">I")


def read(stream: BinaryIO) -> bytes | None:
    """One piece; None where the stream ends before or inside it."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    piece = stream.read(length)
    return piece if len(piece) == length else None


def write(stream: BinaryIO, piece: bytes) -> None:
    """One piece, at once."""
    stream.write(LENGTH.pack(len(piece)) + piece)
    stream.flush()


def serve(font: str, requests: BinaryIO, replies: BinaryIO) -> None:
    """Render documents until the requests end: a PNG in return for each, or "!" and a complaint.

    Args:
        font: file of the one font that letters are drawn with.
        requests: SVG documents with a size in pixels.
        replies: takes the answers.
    """
    import resvg_py

    family = dict.fromkeys(
        ("font_family", "serif_family", "sans_serif_family", "cursive_family", "fantasy_family",
         "monospace_family"),
        "DejaVu Sans",
    )  # fmt: skip
    while (request := read(requests)) is not None:
        fonts = [font] if b"<text" in request else None
        try:
            piece = resvg_py.svg_to_bytes(
                svg_string=request.decode(), skip_system_fonts=True, font_files=fonts, **family
            )
        except ValueError as error:
            piece = b"!" + str(error).encode()
        write(replies, piece)


def main() -> None:
    """Serve standard input and output within limits."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # no such limits here
        pass
    serve(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
