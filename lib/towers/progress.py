"""Progress bars that also tell `towers run` that an experiment has not stalled.

A run of an experiment is stopped when it makes no progress for a while. It has no terminal to show
bars on; instead, every step of a bar touches the file that `TOWERS_ALIVE` names, and the process
that watches the run looks at the file's time.
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
    """Report progress; does nothing outside a run, or if the file is gone."""
    global _touched
    path = os.environ.get(ALIVE)
    if path and time.monotonic() - _touched >= APART:
        _touched = time.monotonic()
        with contextlib.suppress(OSError):
            os.utime(path)


class tqdm(shown.tqdm):
    """A tqdm bar whose steps are reported by `beat`, also where the bar is hidden."""

    def __iter__(self) -> Iterator[Any]:
        """The items; each is reported as progress."""
        for item in super().__iter__():
            beat()
            yield item

    def update(self, n: float = 1) -> bool | None:
        """Move the bar by `n`, and report progress."""
        beat()
        return super().update(n)


class Lock(FileLock):
    """A lock between processes; waiting for it counts as progress."""

    def _acquire(self) -> None:
        beat()
        super()._acquire()
