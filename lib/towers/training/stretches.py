"""Several sources one after the other, as one with rows in blocks."""

from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from towers import files


class Source(Sized, Protocol):
    """What has rows in blocks, and a name for its content.

    Attributes:
        blocks: lengths of the stretches that lie together; their sum is the length.
        digest: names the content; another one is other data.
    """

    blocks: tuple[int, ...]
    digest: str


Part = TypeVar("Part", bound=Source)


@dataclass(frozen=True)
class Stretches(Generic[Part]):
    """Rows of several sources, numbered through.

    Attributes:
        parts: at least one.
        ends: for each part the number of rows up to its end.
    """

    parts: tuple[Part, ...]
    ends: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ends = np.cumsum([len(part) for part in self.parts])
        object.__setattr__(self, "ends", tuple(ends.tolist()))

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks of all parts."""
        return tuple(block for part in self.parts for block in part.blocks)

    @property
    def digest(self) -> str:
        """SHA-256 over the parts' digests."""
        return files.sha256("\0".join(part.digest for part in self.parts).encode())

    def __len__(self) -> int:
        return self.ends[-1]

    def home(self, row: int) -> tuple[Part, int]:
        """The part that a row of all parts is in, and its number there."""
        number = int(np.searchsorted(self.ends, row, side="right"))
        part = self.parts[number]
        return part, row - (self.ends[number] - len(part))
