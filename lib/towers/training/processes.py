"""The ranks of a run: how they start and agree."""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object

from towers.training.errors import TrainingError, TrainingFailed

T = TypeVar("T")


def start() -> Accelerator:
    """This process as one of the ranks that a launcher started, or alone.

    Precision, accumulation and order are the loop's own. Gradients are shared in buckets that
    never change: those of torch are laid out anew after the first update, so that a resumed run
    would add up the same numbers in another order.
    """
    return Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
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


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the disk'}: {error.strerror}"
    return " ".join(str(error).split())[:500] or type(error).__name__
