"""Signs of life: what works for long shows a bar on a terminal, and touches a file.

A run of an experiment is stopped when nothing has moved for a while. It has no terminal, so its
bars are hidden; the file that `TOWERS_ALIVE` names stands in for them, and whoever watches the run
looks at the file's time.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import tqdm as shown
from filelock import FileLock

ALIVE = "TOWERS_ALIVE"
APART = 0.5
"""Seconds between two touches of the file; a loop may turn a million times in between."""

_touched = -APART


def beat() -> None:
    """Say that the work has moved on; nothing happens outside a run, or where the file is gone."""
    global _touched
    path = os.environ.get(ALIVE)
    if path and time.monotonic() - _touched >= APART:
        _touched = time.monotonic()
        with contextlib.suppress(OSError):
            os.utime(path)


class tqdm(shown.tqdm):
    """A tqdm bar each of whose steps is a sign of life, also where the bar itself is hidden."""

    def __iter__(self) -> Iterator[Any]:
        """The items, each a sign of life."""
        for item in super().__iter__():
            beat()
            yield item

    def update(self, n: float = 1) -> bool | None:
        """Move the bar by `n`: a sign of life."""
        beat()
        return super().update(n)


class Lock(FileLock):
    """A lock between processes; who waits for one that another run holds is alive."""

    def _acquire(self) -> None:
        beat()
        super()._acquire()
