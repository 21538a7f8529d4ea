"""A disk that fails, or a machine that dies, at a chosen call to the operating system."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

CALLS = ("open", "write", "fchmod", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
WORKING = {name: getattr(os, name) for name in CALLS}


class Counter:
    """Counts the calls that change a disk; the n-th one is when `act` strikes."""

    def __init__(self, at: int | None, act: Callable[[], None], lasting: bool, after: bool):
        self.seen = 0
        self.at = at
        self.act = act
        self.lasting = lasting
        self.after = after

    def wrap(self, real: Callable) -> Callable:
        """The call, with the fault before or after it."""

        def faulty(*arguments, **options):
            self.seen += 1
            due = self.at is not None and (
                self.seen == self.at or (self.lasting and self.seen > self.at)
            )
            if due and not self.after:
                self.act()
            try:
                return real(*arguments, **options)
            finally:
                if due and self.after:
                    self.act()

        return faulty


@contextlib.contextmanager
def strikes(
    at: int | None, act: Callable[[], None], lasting: bool = False, after: bool = False
) -> Iterator[Counter]:
    """Let a fault strike at the n-th call that changes the disk.

    Args:
        at: which call, from 1; None: none, only count.
        act: the fault: raises, or kills the process.
        lasting: strike at every later call too.
        after: strike when the call has been done, not before.
    """
    counter = Counter(at, act, lasting, after)
    before = {name: getattr(os, name) for name in CALLS}
    try:
        for name, real in before.items():
            setattr(os, name, counter.wrap(real))
        yield counter
    finally:
        for name, real in before.items():
            setattr(os, name, real)


def error(number: int) -> Callable[[], None]:
    """A fault that raises the operating system's error of a number, for example ENOSPC."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


def die() -> None:
    """A fault that kills the process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def calls_of(work: Callable[[], object]) -> int:
    """How many calls some work makes that change the disk."""
    with strikes(None, lambda: None) as counter:
        work()
    return counter.seen


def killed(work: Callable[[], object], at: int, after: bool) -> bool:
    """Do some work in a process of its own that dies at the n-th call; whether it died."""
    child = os.fork()
    if child == 0:
        try:
            with strikes(at, die, after=after):
                work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """A time in which the disk works, inside `strikes`."""
    faulty = {name: getattr(os, name) for name in CALLS}
    try:
        for name in CALLS:
            setattr(os, name, WORKING[name])
        yield
    finally:
        for name, call in faulty.items():
            setattr(os, name, call)
