"""Which samples an update sees: a pure function of the seed, the step and the rank.

Nothing has to be remembered or replayed. An epoch's permutation is computed point by point with a
keyed bijection, so that the rows of any step are known at once, whatever came before, however many
workers read, and without an array as long as the data.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int, UInt64

from towers import files
from towers.data import chance
from towers.training.errors import TrainingError

Source = TypeVar("Source")  # of rows: with a length, `blocks` and a `digest`

ROUNDS = 8  # of the Feistel network; four make it a permutation that cannot be told from random
_STRIDE = int(chance.STRIDE)
_MASK = 2**64 - 1


@dataclass(frozen=True, eq=False)
class Draw:
    """What one rank reads for one forward pass.

    Attributes:
        rows: of the data.
        picks: for each row a 64-bit number, from which its caption and its crop are drawn.
    """

    rows: Int[np.ndarray, " pairs"]
    picks: UInt64[np.ndarray, " pairs"]


@dataclass(frozen=True)
class Order:
    """The order of a data set's rows, epoch after epoch.

    An epoch is a permutation of all rows, cut into whole batches; the rest of it, fewer rows than
    a batch, is dropped, another rest in each epoch. So an epoch visits each row at most once.

    Attributes:
        blocks: lengths of the stretches that lie together, such as shards; their sum is the
            number of rows. Blocks are permuted, and rows within groups of neighbouring blocks.
        batch: rows per step, over all ranks.
        seed: of all permutations and picks.
        accumulate: equal parts of a batch.
        group: blocks that are open at a time.
    """

    blocks: tuple[int, ...]
    batch: int
    seed: int
    accumulate: int = 1
    group: int = 8

    def __post_init__(self) -> None:
        if not self.rows >= self.batch > 0 or self.batch % self.accumulate:
            raise TrainingError(
                f"expected a batch of at most {self.rows} rows (the data) in {self.accumulate} "
                f"equal parts, got {self.batch}; change batch or accumulate"
            )

    @property
    def rows(self) -> int:
        """All rows of the data."""
        return sum(self.blocks)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.rows // self.batch

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that a step belongs to."""
        return step // self.steps_per_epoch

    def draw(self, step: int, part: int = 0, rank: int = 0, ranks: int = 1) -> Draw:
        """The rows and picks of one rank for one part of a step's batch.

        The ranks' rows, one rank after the other, are the part's rows in one process.

        Args:
            step: from 0.
            part: of the batch, below `accumulate`.
            rank: that reads, below `ranks`.
            ranks: that share the part equally.

        Raises:
            TrainingError: the parts of a batch cannot be shared equally.
        """
        share, rest = divmod(self.batch // self.accumulate, ranks)
        if rest or not share:
            raise TrainingError(
                f"expected a batch that {ranks} ranks share equally in {self.accumulate} parts, "
                f"got {self.batch}; change batch, accumulate or the number of ranks"
            )
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.batch + (part * ranks + rank) * share
        rows = _shuffled(np.arange(first, first + share), self, epoch)
        return Draw(rows, mixed(rows.astype(np.uint64), key(self.seed, "pick", epoch)))

    def ahead(self, step: int) -> tuple[list[int], list[int]]:
        """The blocks that are open at a step, and those that will be opened after them."""
        epoch, within = divmod(step, self.steps_per_epoch)
        now, end = self._open(epoch, within * self.batch)
        if end >= self.steps_per_epoch * self.batch:
            epoch, end = epoch + 1, 0
        return now, self._open(epoch, end)[0]

    def _open(self, epoch: int, first: int) -> tuple[list[int], int]:
        """The blocks of the groups that a batch lies in, and the position where they end."""
        order, ends, groups, _ = _layout(self.blocks, self.group, self.seed, epoch)
        last = min(first + self.batch, self.rows) - 1
        before, after = np.searchsorted(groups, (first, last), side="right")
        edges = np.searchsorted(ends, groups[[before - 1, after]], side="right")
        return order[slice(*edges)].tolist(), int(groups[after])


@dataclass(frozen=True)
class Stretches(Generic[Source]):
    """Several sources one after the other, as one: their rows numbered through.

    Attributes:
        parts: at least one.
        ends: for each part the number of rows up to its end.
    """

    parts: tuple[Source, ...]
    ends: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ends = np.cumsum([len(part) for part in self.parts])
        object.__setattr__(self, "ends", tuple(ends.tolist()))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks of all sources, one after the other."""
        return tuple(block for part in self.parts for block in part.blocks)

    @property
    def digest(self) -> str:
        """SHA-256 over the parts' digests."""
        return files.sha256("\0".join(part.digest for part in self.parts).encode())

    def __len__(self) -> int:
        return self.ends[-1]

    def home(self, row: int) -> tuple[Source, int]:
        """The source of a row, and the row's number in it."""
        number = int(np.searchsorted(self.ends, row, side="right"))
        part = self.parts[number]
        return part, row - (self.ends[number] - len(part))


def permuted(positions: Int[np.ndarray, " n"], count: int, secret: int) -> Int[np.ndarray, " n"]:
    """Where a keyed permutation of `count` rows puts the given positions.

    Args:
        positions: from 0 to `count` - 1.
        count: of the rows.
        secret: 64 bits, from `key`; another one is another permutation.

    Source: a balanced Feistel network on the next even power of two, walked along its cycles back
        into the range (Black and Rogaway 2002).
    """
    half = max(1, math.ceil((count - 1).bit_length() / 2))
    values = np.array(positions, dtype=np.uint64)
    outside = np.ones(len(values), dtype=bool)
    while outside.any():
        values[outside] = _feistel(values[outside], half, secret)
        outside = values >= count
    return values.astype(np.int64)


def key(*parts: int | str) -> int:
    """A 64-bit hash of numbers and words, for seeds; their order counts."""
    value = 0
    for part in parts:
        number = int.from_bytes(part.encode()) if isinstance(part, str) else part
        while number:
            value = _mixed_one(value ^ (number & _MASK), _STRIDE)
            number >>= 64
        value = _mixed_one(value, 1)
    return value


def drawn(pick: int, what: int, count: int) -> int:
    """A number below `count` that a pick draws for one of its purposes, each equally often.

    Args:
        pick: 64 random bits.
        what: the purpose, a `key`.
        count: at least 1, far below 2**64.
    """
    return _mixed_one(pick, what) % count


def mixed(values: UInt64[np.ndarray, " n"], secret: int) -> UInt64[np.ndarray, " n"]:
    """A keyed bijection of 64-bit numbers whose every output bit depends on every input bit.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), twice.
    """
    values = values ^ np.uint64(secret)
    for _ in range(2):
        values = chance.mixed(values + chance.STRIDE)
    return values


def _mixed_one(value: int, secret: int) -> int:
    """`mixed` for one number, without the cost of an array."""
    value ^= secret
    for _ in range(2):
        value = (value + _STRIDE) & _MASK
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
        value ^= value >> 31
    return value


def _feistel(values: np.ndarray, half: int, secret: int) -> np.ndarray:
    mask = np.uint64((1 << half) - 1)
    left, right = values >> np.uint64(half), values & mask
    for number in range(ROUNDS):
        round_key = (secret + number * _STRIDE) & _MASK
        left, right = right, left ^ (mixed(right, round_key) & mask)
    return (left << np.uint64(half)) | right


@lru_cache(maxsize=4)
def _layout(blocks: tuple[int, ...], group: int, seed: int, epoch: int):
    """The blocks of an epoch, shuffled: which, their ends, the groups' ends, and their starts."""
    order = permuted(np.arange(len(blocks)), len(blocks), key(seed, "blocks", epoch))
    sizes = np.array(blocks, dtype=np.int64)[order]
    ends = np.cumsum(sizes)
    groups = np.append(0, ends[group - 1 :: group])
    if len(blocks) % group:
        groups = np.append(groups, ends[-1])
    starts = np.cumsum(blocks) - np.array(blocks)
    return order, ends, groups, starts


def _shuffled(positions: np.ndarray, order: Order, epoch: int) -> Int[np.ndarray, " n"]:
    """The rows at some positions of an epoch."""
    blocks, ends, groups, starts = _layout(order.blocks, order.group, order.seed, epoch)
    rows = np.empty_like(positions)
    home = np.searchsorted(groups, positions, side="right") - 1
    for number in np.unique(home):
        mine, low = home == number, int(groups[number])
        secret = key(order.seed, "rows", epoch, int(number))
        rows[mine] = low + permuted(positions[mine] - low, int(groups[number + 1]) - low, secret)
    block = np.searchsorted(ends, rows, side="right")
    before = np.where(block > 0, ends[block - 1], 0)
    return starts[blocks[block]] + rows - before
