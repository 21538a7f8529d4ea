"""Batches as the loop takes them: read by worker processes, in the order that the steps name."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from towers.training.errors import TrainingError, TrainingFailed
from towers.training.order import Order
from towers.training.samples import Samples
from towers.training.stopping import leave_it_to_the_rank

Texts = Mapping[str, Tensor] | Tensor


@dataclass(frozen=True)
class Batch:
    """What one rank gives to one forward pass.

    Attributes:
        images: squares of pixels (uint8, channels last), or image features.
        texts: tokens by name, or text features.
        bad: reason -> samples that could not be read and were replaced.
    """

    images: Tensor
    texts: Texts
    bad: Counter = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory; the loader calls it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def part(self, rows: slice) -> "Batch":
        """Some of its pairs, without the count of bad samples."""
        return Batch(*(_mapped(side, lambda tensor: tensor[rows]) for side in self._sides))

    @property
    def _sides(self) -> tuple[Tensor, Texts]:
        return self.images, self.texts

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(*(_mapped(side, change) for side in self._sides), self.bad)


@dataclass(frozen=True)
class Fault:
    """An error of a worker, on its way to the loop without its traceback."""

    message: str


@dataclass(frozen=True)
class Batches(Dataset):
    """One rank's batches; number `step * accumulate + part` is that part of that step.

    Attributes:
        samples: read from.
        order: of their rows.
        tokenize: captions to tokens.
        rank: that reads.
        ranks: that share each part.
    """

    samples: Samples
    order: Order
    tokenize: Callable[[list[str]], Mapping[str, Tensor]]
    rank: int = 0
    ranks: int = 1

    def __getitem__(self, number: int) -> Batch | Fault:
        """The batch of a number, or what went wrong in reading it."""
        step, part = divmod(number, self.order.accumulate)
        try:
            draw = self.order.draw(step, part, self.rank, self.ranks)
            read = self.samples.read(draw.rows, draw.picks)
            return Batch(torch.from_numpy(read.images), self.tokenize(read.texts), read.bad)
        except (ValueError, OSError, TrainingFailed) as error:
            return Fault(f"{' '.join(str(error).split())} (at step {step + 1})")


def stream(
    batches: Dataset, first: int, end: int, workers: int = 0, pin: bool = False
) -> Iterator[Batch]:
    """Batches of some numbers in their order, read ahead by worker processes.

    Args:
        batches: gives the batch, or the fault, of a number.
        first: number of the first one.
        end: number after the last one.
        workers: processes that read; 0: this one.
        pin: whether to bring batches in page-locked memory.

    Raises:
        TrainingFailed: a batch could not be read, or a worker died.
        RuntimeError: a worker died; torch may raise that wherever the process is at the time.
    """
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, end),
        num_workers=workers,
        worker_init_fn=_alone if workers else None,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        pin_memory=pin,
    )
    try:
        for batch in loader:
            if isinstance(batch, Fault):
                raise TrainingFailed(batch.message)
            yield batch
    except (ConnectionError, EOFError) as error:
        cause = error.strerror if isinstance(error, OSError) else "an end"
        raise TrainingFailed(
            f"expected workers that read, got {cause} from one; start again to resume"
        ) from None


def share(batch: int, accumulate: int, ranks: int) -> int:
    """Pairs of one forward pass on one rank.

    Raises:
        TrainingError: the ranks cannot share a batch's parts equally.
    """
    pairs, rest = divmod(batch, accumulate * ranks)
    if rest or not pairs:
        raise TrainingError(
            f"expected a batch that {ranks} ranks share equally in {accumulate} parts, got "
            f"{batch}; change batch, accumulate or the number of ranks"
        )
    return pairs


def _alone(_: int) -> None:
    """A worker computes on one thread: there are as many workers as should work at a time."""
    leave_it_to_the_rank()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _mapped(side: Texts, change: Callable[[Tensor], Tensor]) -> Texts:
    if isinstance(side, Tensor):
        return change(side)
    return {name: change(tensor) for name, tensor in side.items()}
