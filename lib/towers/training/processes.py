"""The ranks of a run: how they start, agree, and notice that one of them is gone."""

import contextlib
import os
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

_BYE = b"bye"
_OURS = (TrainingFailed, NotImplementedError, RecursionError)
"""Errors that speak for themselves, or are defects."""


def start() -> Accelerator:
    """This process as one of the ranks that a launcher started, or alone.

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
    """Do something that may fail, and fail on all ranks if it fails on any.

    Args:
        accelerator: of the ranks; all of them call this.
        work: to do, without a word to other ranks.
        only_main: do it on rank 0 only; the others get None.

    Raises:
        TrainingError: another rank met a ValueError; this rank's own errors are raised as they are.
        TrainingFailed: another rank met another error.
    """
    result, own = None, None
    if accelerator.is_main_process or not only_main:
        try:
            result = work()
        except Exception as error:
            own = error
    if accelerator.num_processes > 1:
        said = None if own is None else (isinstance(own, ValueError), _said(own))
        heard = everywhere(accelerator, [said])
        rank = next((rank for rank, words in enumerate(heard) if words), None)
        if own is None and rank is not None:
            wrong, words = heard[rank]
            kind = TrainingError if wrong else TrainingFailed
            raise kind(f"rank {rank}: {words}")
    if own is not None:
        raise own
    return result


def everywhere(accelerator: Accelerator, values: list[T]) -> list[T]:
    """The values of all ranks, one rank after the other, on all ranks."""
    return gather_object(values) if accelerator.num_processes > 1 else values


@contextlib.contextmanager
def watched(accelerator: Accelerator) -> Iterator[None]:
    """Let all ranks stop with one line when one of them fails or is gone.

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
        """Stop this process from its second thread: the first one waits for who is gone."""
        if self.over.wait(2 * BEAT):  # the first one is stopping by itself
            return
        print(f"towers: error: {words}", file=sys.stderr, flush=True)
        os._exit(1)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the disk'}: {error.strerror}"
    return " ".join(str(error).split())[:500] or type(error).__name__
