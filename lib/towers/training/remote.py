"""Remote shards: downloaded when they are needed, into a part of the cache of bounded size.

Those that are needed next are fetched while others are read; those that were used longest ago make
room. Processes that want the same shard fetch it once.
"""

import contextlib
import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from towers import files
from towers.data import DataError
from towers.data.tars import entries

ROOM = 64 * 10**9
"""Bytes of fetched shards that stay in the cache, besides those that are being read."""

ATTEMPTS = 3  # at fetching one
PATIENCE = 60.0  # seconds without a byte
_BLOCK = 2**20


@dataclass(frozen=True)
class Remote:
    """A shard at an address.

    Attributes:
        url: http, https, file, or what fsspec has a driver for.
    """

    url: str

    @property
    def path(self) -> Path:
        """Its file in the cache."""
        return files.cache_home() / "shards" / f"{files.sha256(self.url.encode())[:32]}.tar"

    def open(self) -> BinaryIO:
        """Open the shard for reading; fetch and check it first if it is not in the cache.

        Raises:
            DataError: it cannot be had, or is cut short or damaged.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                return self.path.open("rb")
            with files.locked(self.path):
                if not self.path.is_file():
                    self._fetch()
                return self.path.open("rb")
        except OSError as error:
            raise DataError(
                f"expected a cache to fetch {self.url[:200]!r} into, got {self.path.parent}, which "
                f"cannot be used ({error.strerror}); set TOWERS_HOME to another folder"
            ) from None

    def _fetch(self) -> None:
        for attempt in range(ATTEMPTS):
            try:
                return _bring(self.url, self.path)
            except (OSError, ValueError, ImportError, HTTPException) as error:
                cause = getattr(error, "reason", None) or error
                cause = " ".join(str(cause).split())[:200] or type(error).__name__
                if attempt == ATTEMPTS - 1 or isinstance(error, ImportError):
                    raise DataError(
                        f"expected a whole shard at {self.url[:200]!r}, got {cause}; check the "
                        "address"
                    ) from None
                time.sleep(2**attempt)
        return None


class Ahead:
    """A thread that fetches the shards that will be read next."""

    def __init__(self) -> None:
        self._wanted: tuple[Remote, ...] = ()
        self._thread: threading.Thread | None = None

    def expect(self, now: Sequence[Remote], soon: Sequence[Remote]) -> None:
        """Keep some shards and fetch others; what fails is tried again when it is read.

        Args:
            now: are being read.
            soon: will be read next, in this order.
        """
        wanted = (*now, *soon)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for shard in now:
            with contextlib.suppress(OSError):
                os.utime(shard.path)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, daemon=True, name="shards")
            self._thread.start()

    def _work(self) -> None:
        done: tuple[Remote, ...] = ()
        while done != self._wanted:
            done = self._wanted
            for shard in done:
                if done == self._wanted:
                    with contextlib.suppress(DataError, OSError):
                        shard.open().close()
            tidy()


def tidy() -> None:
    """Remove the fetched shards that were used longest ago, until the others fit in their room."""
    fetched = []
    for path in (files.cache_home() / "shards").glob("*.tar"):
        with contextlib.suppress(FileNotFoundError):
            about = path.stat()
            fetched.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in fetched)
    for _, size, path in sorted(fetched):
        if total <= ROOM:
            return
        with contextlib.suppress(Timeout, OSError), FileLock(f"{path}.lock", timeout=0):
            path.unlink()
            total -= size


def _bring(url: str, path: Path) -> None:
    """Download a shard to a hidden file, check it, and move it to its place."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file, _opened(url) as source:
            expected = _length(source)
            while block := source.read(_BLOCK):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if expected not in (None, part.stat().st_size):
            raise ValueError(f"{part.stat().st_size} bytes of {expected}")
        with part.open("rb") as file:
            faults = Counter(entry.fault for entry in entries(file) if entry.fault)
        if cut := faults["truncated archive"]:
            raise ValueError(f"a tar that is cut off in {cut} place")
        os.replace(part, path)
        files.sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _length(source: BinaryIO) -> int | None:
    """The size in bytes that a source states, if it does."""
    said = getattr(source, "headers", {}).get("Content-Length", getattr(source, "size", None))
    return None if said is None else int(said)


def _opened(url: str) -> BinaryIO:
    if url.startswith(("http://", "https://", "file://")):
        return urllib.request.urlopen(url, timeout=PATIENCE)
    import fsspec

    return fsspec.open(url, "rb").open()
