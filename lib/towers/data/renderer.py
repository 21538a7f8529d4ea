"""SVG documents to pictures, in processes of their own.

The renderer is native code, and hostile drawings can make it overflow its stack, ask for terabytes
or never end. So it works in child processes with a limit of memory and time: what kills them is one
refused picture, and the next one starts another child.
"""

import atexit
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from towers.data import svg_child
from towers.data.errors import BadImage, DataError

SECONDS = 10.0
"""Longest that one picture may take; Open Clip Art's slowest takes 0.2."""
FONT = "mpl-data/fonts/ttf/DejaVuSans.ttf"
"""Inside matplotlib, which comes with this one font everywhere."""


def render(document: str) -> Image.Image:
    """Draw an SVG document at the size in pixels that it gives.

    Returns:
        The picture with its transparency.

    Raises:
        BadImage: "not drawable" (the renderer says no), "too slow", or "kills the renderer".
    """
    with _borrowed() as child:
        reply = child.ask(document.encode())
    if reply.startswith(b"!"):
        complaint = " ".join(reply[1:].decode(errors="replace").split())
        raise BadImage("not drawable", complaint[:120])
    picture = Image.open(io.BytesIO(reply), formats=["PNG"])
    picture.load()
    return picture


class _Child:
    """A running renderer."""

    def __init__(self) -> None:
        self.late = False
        self.process = subprocess.Popen(
            [sys.executable, "-I", svg_child.__file__, _font()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, request: bytes) -> bytes:
        """The reply to one request; raises if there comes none."""
        watch = threading.Timer(SECONDS, self._give_up)
        watch.start()
        try:
            svg_child.write(self.process.stdin, request)
            reply = svg_child.read(self.process.stdout)
        except OSError:  # it died while it was being asked
            reply = None
        finally:
            watch.cancel()
        if reply is None:
            self.end()
            if self.late:
                raise BadImage("too slow", f"expected a picture within {SECONDS:g} seconds")
            raise BadImage("kills the renderer", "expected a picture, the renderer broke down")
        return reply

    def _give_up(self) -> None:
        self.late = True
        self.process.kill()

    def end(self) -> None:
        """Stop the process and take back what it held."""
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what was not yet sent cannot be
                stream.close()
        self.process.wait()


_idle: list[_Child] = []


@contextmanager
def _borrowed() -> Iterator[_Child]:
    """A child that nobody else asks meanwhile; one that died is not given back."""
    try:
        child = _idle.pop()
    except IndexError:
        child = _Child()
    try:
        yield child
    except BaseException:
        child.end()  # also after an interrupt, when a reply may still be under way
        raise
    _idle.append(child)


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()


if hasattr(os, "register_at_fork"):  # the copy of a process must not share its children's pipes
    os.register_at_fork(after_in_child=_idle.clear)


@cache
def _font() -> str:
    spec = find_spec("matplotlib")
    path = Path(spec.origin).parent / FONT if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DataError("expected matplotlib with its font DejaVu Sans; pip install matplotlib")
    return str(path)
