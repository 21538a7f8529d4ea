"""The dataloader: batches read by worker processes, in the order of the steps.

A batch may hold pairs of texts behind its pairs of image and caption. Then its left side is a
mapping: "images" (of the first rows; zeros for the others), "written" (whether a row's left side is
a text) and the tokens of these texts by their names (zeros for the first rows). So whatever cuts
batches into rows cuts all of it.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, Dataset

from towers.training import texts
from towers.training.errors import TrainingError, TrainingFailed
from towers.training.order import Order
from towers.training.processes import leave_it_to_the_rank
from towers.training.samples import Samples

Texts = Mapping[str, Tensor] | Tensor
IMAGES, WRITTEN = "images", "written"
"""Names in a left side that holds texts."""


@dataclass(frozen=True)
class Batch:
    """The pairs of one forward pass on one rank.

    Attributes:
        images: squares of pixels (uint8, channels last), or image features; or the mapping that
            the module's text describes.
        texts: tokens by name, or text features.
        bad: reason -> samples that could not be read and were replaced.
        captions: 64 bits that stand for each text of the right side; None where nobody looks.
    """

    images: Texts
    texts: Texts
    bad: Counter = field(default_factory=Counter)
    captions: Tensor | None = None

    def __len__(self) -> int:
        images = self.images
        return len(images if isinstance(images, Tensor) else images[WRITTEN])

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory; the loader calls it."""
        return self._map(lambda tensor: tensor.pin_memory())

    def part(self, rows: slice) -> "Batch":
        """Some of its pairs; `bad` is left empty."""
        return replace(self._map(lambda tensor: tensor[rows]), bad=Counter())

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        tensors = self.images, self.texts, self.captions
        images, texts, captions = tree_map_only(Tensor, change, tensors)
        return Batch(images, texts, self.bad, captions)


@dataclass(frozen=True)
class Fault:
    """An error of a worker, on its way to the loop without its traceback."""

    message: str


@dataclass(frozen=True)
class Part:
    """Some rows of every batch: a source and the order in which it is read.

    Attributes:
        source: of image-text pairs, or of pairs of texts.
        order: of its rows.
    """

    source: Samples | texts.TextPairs
    order: Order


@dataclass(frozen=True)
class Batches(Dataset):
    """One rank's batches; number `step * accumulate + part` is that part of that step.

    Attributes:
        images: pairs of image and caption, the first rows of a batch; None: there are none.
        tokenize: captions to tokens.
        rank: that reads.
        ranks: that share each part.
        texts: pairs of texts, the last rows of a batch; None: there are none.
    """

    images: Part | None
    tokenize: Callable[[list[str]], Mapping[str, Tensor]]
    rank: int = 0
    ranks: int = 1
    texts: Part | None = None

    def __getitem__(self, number: int) -> Batch | Fault:
        """Batch number `number`, or the error of reading it."""
        step, part = divmod(number, (self.images or self.texts).order.accumulate)
        try:
            return self._read(step, part)
        except (ValueError, OSError, TrainingFailed) as error:
            return Fault(f"{' '.join(str(error).split())} (at step {step + 1})")

    def _read(self, step: int, part: int) -> Batch:
        pictures, captions, bad = None, [], Counter()
        if self.images:
            draw = self.images.order.draw(step, part, self.rank, self.ranks)
            self.images.source.expect(*self.images.order.ahead(step))
            read = self.images.source.read(draw.rows, draw.picks)
            pictures, captions, bad = torch.from_numpy(read.images), list(read.texts), read.bad
        left: Texts | None = pictures
        if self.texts:
            draw = self.texts.order.draw(step, part, self.rank, self.ranks)
            first, second = texts.read(self.texts.source, draw.rows, draw.picks)
            left = _left(pictures, self.tokenize(first))
            captions += second
        return Batch(left, self.tokenize(captions), bad, _marked(captions))


def _left(pictures: Tensor | None, tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The left side of a batch whose last rows are texts."""
    written = len(next(iter(tokens.values())))
    pictured = 0 if pictures is None else len(pictures)
    left = {
        name: torch.cat([tensor.new_zeros(pictured, *tensor.shape[1:]), tensor])
        for name, tensor in tokens.items()
    }
    if pictures is not None:
        rest = pictures.new_zeros(written, *pictures.shape[1:])
        left[IMAGES] = torch.cat([pictures, rest])
    return left | {WRITTEN: torch.arange(pictured + written) >= pictured}


def _marked(captions: list[str]) -> Tensor:
    """A 64-bit hash of each caption."""
    return torch.tensor([
        int.from_bytes(
            hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(),
            signed=True,
        )
        for text in captions
    ])  # fmt: skip


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
    """Set up a worker process: it computes on one thread, and outlives signals to its rank."""
    leave_it_to_the_rank()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
