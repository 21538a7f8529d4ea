"""The ranks of a run: how they start, agree, stop when asked, and notice that one of them is gone.

Ctrl-C, `kill`, a launcher, a cluster before it takes its machines back: all of them ask with a
signal, and not all ranks hear it, or not at the same time. So each rank listens and tells the
others what it has heard with the numbers that they exchange after each update anyway: the update
under way is finished and kept before anybody leaves.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch.distributed import TCPStore

from towers.training.errors import TrainingError, TrainingFailed

T = TypeVar("T")

BEAT = 1.0
"""Seconds between two signs of life."""

PATIENCE = 20.0
"""Seconds without a sign of life after which a rank counts as gone."""

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that end a process, and may come before worse: clusters warn with the last two."""

TOGETHER = 1.0
"""Seconds in which several signals are one: a launcher passes on what its terminal sent to all."""

_ENDS = (signal.SIG_DFL, signal.default_int_handler)
_BYE = b"bye"
_OURS = (TrainingFailed, NotImplementedError, RecursionError)
"""Errors that speak for themselves, or are defects."""


def start() -> Accelerator:
    """Join the ranks that a launcher started; without a launcher there is one rank.

    Precision, accumulation and order are the loop's own.
    """
    with warnings.catch_warnings():
        # It shares the cores among ranks where nobody said how, and would warn that it does.
        warnings.filterwarnings("ignore", "OMP_NUM_THREADS")
        return Accelerator(
            cpu=not torch.accelerator.is_available(),
            mixed_precision="no",
            kwargs_handlers=[DistributedDataParallelKwargs()],
        )


def agree(accelerator: Accelerator, work: Callable[[], T], *, only_main: bool = False) -> T | None:
    """Call a function on all ranks, or on rank 0; an error on one rank is raised on all.

    Args:
        accelerator: of the ranks; all of them call this.
        work: to do, without a word to other ranks.
        only_main: do it on rank 0 only; the others get None.

    Raises:
        TrainingError: another rank met a ValueError; this rank's own errors are raised as they are.
        TrainingFailed: another rank met another error.
    """
    result, mine = None, None
    if accelerator.is_main_process or not only_main:
        try:
            result = work()
        except Exception as error:
            mine = error
    if accelerator.num_processes > 1:
        said = None if mine is None else (isinstance(mine, ValueError), _said(mine))
        heard = everywhere(accelerator, [said])
        rank = next((rank for rank, words in enumerate(heard) if words), None)
        if mine is None and rank is not None:
            wrong, words = heard[rank]
            kind = TrainingError if wrong else TrainingFailed
            raise kind(f"rank {rank}: {words}")
    if mine is not None:
        raise mine
    return result


def everywhere(accelerator: Accelerator, values: list[T]) -> list[T]:
    """Gather lists of values from all ranks, on all ranks."""
    return gather_object(values) if accelerator.num_processes > 1 else values


@contextlib.contextmanager
def watched(accelerator: Accelerator) -> Iterator[None]:
    """Stop all ranks, with a line that says why, when one of them fails or is gone.

    A rank whose peer is gone waits for it in the next exchange: for half an hour, as NCCL does, or
    until it is told by the system. So each rank gives signs of life, and watches its neighbour's.
    An error in one rank reaches the others as its words.

    Raises:
        TrainingFailed: in the place of an error of torch: a lost rank or worker, or no memory.
    """
    several = accelerator.num_processes > 1 and "MASTER_ADDR" in os.environ
    watch = _Watch(accelerator.process_index, accelerator.num_processes) if several else None
    words = ""
    try:
        yield
    except BaseException as error:
        words = _said(error)
        if isinstance(error, RuntimeError) and not isinstance(error, _OURS):
            raise TrainingFailed(
                f"expected updates to go on, got {words[:300]}; start again to resume"
            ) from error
        raise
    finally:
        if watch:
            watch.stop(words)


class _Watch:
    """A thread that gives signs of life and ends this process when another rank is gone."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks, self.neighbour = rank, ranks, (rank + 1) % ranks
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self.store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=PATIENCE))
        self.over, self.beats = threading.Event(), 0
        self.thread = threading.Thread(target=self._beat, daemon=True, name="watch")
        self.thread.start()
        threading.Thread(target=self._guard, daemon=True, name="guard").start()

    def stop(self, words: str = "") -> None:
        """Say good-bye; or, where this rank failed, why."""
        self.over.set()
        self.thread.join(PATIENCE)
        with contextlib.suppress(RuntimeError):  # the rank that kept the store may be gone
            self.store.set(f"towers/{self.rank}", _BYE)
            if words and not self.store.check(["towers/failed"]):
                self.store.set("towers/failed", f"rank {self.rank}: {words}")
            if not words and self.rank == 0:
                self._see_off()

    def _see_off(self) -> None:
        """Wait for the others' good-byes, which torch complains about where the store is gone."""
        end = time.monotonic() + 5 * BEAT
        while any(self._get(f"towers/{rank}") != _BYE for rank in range(1, self.ranks)):
            if time.monotonic() > end:
                return
            time.sleep(BEAT / 100)

    def _beat(self) -> None:
        number, seen, since = 0, b"", time.monotonic()
        while not self.over.wait(BEAT):
            number += 1
            self.beats = number
            try:
                self.store.set(f"towers/{self.rank}", str(number))
                heard = self._get(f"towers/{self.neighbour}")
                failed = self._get("towers/failed")
            except RuntimeError:
                return self._end("rank 0 is gone")
            if failed:
                self._end(failed.decode())
            if heard != seen or heard == _BYE:
                seen, since = heard, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                words = f"rank {self.neighbour} is gone"
                self.store.set("towers/failed", words)
                self._end(words)

    def _guard(self) -> None:
        """End this process where the store, which rank 0 may keep, does not answer any more.

        Beats that fail to come are counted, not seconds, which pass while all are suspended.
        """
        seen, missed = self.beats, 0
        while not self.over.wait(BEAT):
            missed = missed + 1 if self.beats == seen else 0
            seen = self.beats
            if missed * BEAT > PATIENCE:
                self._end("rank 0 is gone")

    def _get(self, name: str) -> bytes:
        return self.store.get(name) if self.store.check([name]) else b""

    def _end(self, words: str) -> None:
        """End the process from this thread: the main thread may wait for a rank that is gone."""
        if self.over.wait(2 * BEAT):  # the first one is stopping by itself
            return
        print(f"towers: error: {words}", file=sys.stderr, flush=True)
        os._exit(1)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the disk'}: {error.strerror}"
    return " ".join(str(error).split())[:500] or type(error).__name__


class Signals:
    """A context that records signals in place of their handlers.

    Signals that were ignored still are. Outside the main thread nothing is heard.

    Attributes:
        asked: number of the first signal that was heard; 0: none.
    """

    def __init__(self, speak: bool = True) -> None:
        """Prepare to listen; `speak` says on stderr that a signal was heard."""
        self.speak, self.asked = speak, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self._listen()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        asked = self._leave()
        if asked and error is None:  # it came too late for the last update
            signal.raise_signal(asked)

    def hand_on(self, number: int) -> None:
        """Raise a signal for its original handler; listen on if the process survives it.

        Args:
            number: of the signal, which another rank may have heard.
        """
        self._leave()
        signal.raise_signal(number)
        self.__enter__()

    def _listen(self) -> None:
        handlers = {number: signal.getsignal(number) for number in HEEDED}
        # None: a handler that is not Python's, and could not be brought back
        self._before = {
            n: handler for n, handler in handlers.items() if handler not in (signal.SIG_IGN, None)
        }
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        # a thread: a handler would have to wait for the main one, and that for other ranks
        self._thread = threading.Thread(target=self._hear, daemon=True, name="signals")
        self._thread.start()
        self._fd = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        for number in self._before:
            signal.signal(number, _nothing)

    def _leave(self) -> int:
        """Restore the handlers; returns the signal that was heard, or 0."""
        if self._before:
            signal.set_wakeup_fd(self._fd)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            os.write(self._mouth, b"\0")
            self._thread.join()
            os.close(self._mouth)
            os.close(self._ear)
        asked, self.asked, self._before = self.asked, 0, {}
        return asked

    def _hear(self) -> None:
        since = 0.0
        while number := os.read(self._ear, 1)[0]:
            if number not in self._before:  # a worker that has ended, and the like
                continue
            if not self.asked:
                self.asked, since = number, time.monotonic()
                self._say("stopping after this update; a second signal leaves at once")
            elif time.monotonic() - since > TOGETHER and self._before[number] in _ENDS:
                self._say(f"error: stopped by a second {signal.Signals(number).name}")
                os._exit(128 + number)

    def _say(self, line: str) -> None:
        if self.speak:
            print(f"towers: {line}", file=sys.stderr, flush=True)


def leave_it_to_the_rank() -> None:
    """Make a dataloader's worker ignore a first signal: its rank needs it until the update is done.

    A second SIGTERM ends it, as multiprocessing does with those that do not end by themselves.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _nothing(*_: object) -> None:
    """A handler in Python's sense; what matters is that Python writes the number to the pipe."""
