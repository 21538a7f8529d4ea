"""Where a run's pictures and captions come from: any row, at random, with damage counted.

A source has rows in blocks. To read rows is to get, for each, square pixels and one of its
captions. A row that cannot be read is replaced by another one, drawn from its own pick, so that
every rank, worker and repetition finds the same; its reason is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8, UInt64
from PIL import Image
from torch import Tensor

from towers import data, files
from towers.data import BadImage
from towers.models import Preprocessing
from towers.models.preprocessing import square
from towers.training.errors import TrainingFailed
from towers.training.order import Stretches, drawn, key

TRIES = 32
"""Rows that are tried in the place of an unreadable one before the run gives up."""

REMEMBERED = 2**29
"""Bytes of squares that a collection may hold in memory, so that each picture is opened once."""

_CAPTION, _CROP, _MIRROR, _OTHER = (key(word) for word in ("caption", "crop", "mirror", "other"))


@dataclass(frozen=True, eq=False)
class Read:
    """Rows as they were read.

    Attributes:
        images: square pixels, or features of a frozen image tower.
        texts: a caption for each.
        bad: reason -> rows that could not be read and were replaced.
    """

    images: UInt8[np.ndarray, "rows size size 3"] | Float[np.ndarray, "rows width"]
    texts: list[str]
    bad: Counter


class Samples(Protocol):
    """A source of samples; it travels to the processes that read.

    Attributes:
        blocks: lengths of the stretches that lie together; their sum is the length.
        digest: names the content; another one is other data.
        left_out: reason -> samples that were found bad before they were asked for.

    `captions` gives the texts that may be drawn, row after row.
    """

    blocks: tuple[int, ...]
    digest: str
    left_out: Counter

    def __len__(self) -> int: ...

    def captions(self) -> Iterator[str]: ...

    def expect(self, now: Sequence[int], soon: Sequence[int]) -> None:
        """Prepare for the blocks that are read now, and next; mostly there is nothing to do."""

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read: ...


@dataclass(frozen=True)
class Squares:
    """How a picture becomes an image tower's square.

    Attributes:
        transform: the tower's own preparation.
        crop: whether a random square is taken of the picture, whose shorter side is scaled to the
            tower's size; else the tower's preparation as in evaluation.
        mirror: whether half of the squares, drawn anew each time, have left and right exchanged.

    Source: Radford et al. 2021, sec. 2.3: "A random square crop from resized images is the only
        data augmentation used during training."
    """

    transform: Preprocessing
    crop: bool = False
    mirror: bool = False

    def __call__(self, image: Image.Image, pick: int) -> UInt8[np.ndarray, "size size 3"]:
        """The square; of those that a crop may take, the one that `pick` draws."""
        if not self.crop:
            return self.transform.pixels(image)
        size, scaled = self.transform.size, self.scaled(*image.size)
        top, left = (
            drawn(pick, key(_CROP, axis), side - size + 1)
            for axis, side in enumerate(reversed(scaled))
        )
        rgb = image.convert("RGB")
        return np.array(square(rgb, scaled, (left, top), size, Image.Resampling.BICUBIC))

    def turned(
        self, square: UInt8[np.ndarray, "size size 3"], pick: int
    ) -> UInt8[np.ndarray, "size size 3"]:
        """The square, or its mirror image where one is wanted and `pick` draws it."""
        return square[:, ::-1] if self.mirror and drawn(pick, _MIRROR, 2) else square

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that a picture is scaled to before it is cut or padded."""
        if not self.crop:
            return self.transform.scaled(width, height)
        size = self.transform.size
        ratio = size / min(width, height)
        return max(size, round(width * ratio)), max(size, round(height * ratio))

    def keeps(self, size: int) -> bool:
        """Whether a square picture of a size comes out as it is."""
        return size == self.transform.size and self.transform.crop_fraction == 1

    @property
    def recipe(self) -> str:
        """One line that says all of it."""
        return f"{self.transform.recipe} crop={self.crop}{' mirror' * self.mirror}"


class Items(Samples):
    """Items of a collection that have captions in some languages; they lie together.

    Attributes:
        collection: each item of it has such a caption.
        languages: of the captions; each caption in any of them is drawn equally often.
    """

    collection: data.Collection
    languages: tuple[str, ...]

    @property
    def blocks(self) -> tuple[int, ...]:
        """All items lie together."""
        return (len(self),)

    @property
    def left_out(self) -> Counter:
        """None: what loading drops is judged, and reported, by the collection itself."""
        return Counter()

    def __len__(self) -> int:
        return len(self.collection)

    def captions(self) -> Iterator[str]:
        """All captions in the languages."""
        return (text for row in range(len(self)) for text in self.texts(row))

    def texts(self, row: int) -> list[str]:
        """The captions of a row."""
        return texts_in(self.collection[row].captions, self.languages)


@dataclass(frozen=True, eq=False)
class CollectionSamples(Items):
    """Items whose pictures are read when they are asked for.

    Attributes:
        collection: see `Items`.
        squares: what its pictures become.
        languages: see `Items`.
    """

    collection: data.Collection
    squares: Squares
    languages: tuple[str, ...] = ("en",)
    _seen: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the collection's digest, the squares and the languages."""
        parts = (self.collection.digest, self.squares.recipe, *self.languages)
        return files.sha256("\0".join(parts).encode())

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read:
        """One square and one caption for each row."""
        return one_by_one(self._one, rows, picks, len(self))

    def _one(self, row: int, pick: int) -> tuple[np.ndarray, str]:
        square = self._seen.get(row)
        if square is None:
            square = self.squares(self.collection.image(row, self.squares.scaled), pick)
            if not self.squares.crop and len(self) * square.nbytes <= REMEMBERED:
                self._seen[row] = square
        return self.squares.turned(square, pick), caption(self.texts(row), pick)


@dataclass(frozen=True, eq=False)
class Pictures(CollectionSamples):
    """Pictures without captions: the text of each is its key, by which a tower's features lie.

    Attributes:
        teacher: checksum and recipe of the tower that they are to be seen as by.
    """

    teacher: str = field(kw_only=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the collection's digest, the squares and the teacher."""
        parts = (self.collection.digest, self.squares.recipe, self.teacher)
        return files.sha256("\0".join(parts).encode())

    def texts(self, row: int) -> list[str]:
        """The picture's key."""
        return [self.collection.picture_keys[row]]


@dataclass(frozen=True, eq=False)
class Lookup:
    """Features that a frozen tower has given once for all, by the texts that they are of.

    Attributes:
        rows: text -> row.
        features: of the texts, or of the pictures whose keys the texts are.
    """

    rows: Mapping[str, int]
    features: Float[np.ndarray, "texts width"]

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "batch width"]:
        """The features of some texts, one row each."""
        rows = [self.rows[text] for text in texts]
        return torch.from_numpy(np.asarray(self.features[rows], dtype=np.float32))


class Joined(Stretches[Samples]):
    """Several sources of samples, one after the other."""

    @property
    def left_out(self) -> Counter:
        """Of all parts."""
        return sum((part.left_out for part in self.parts), Counter())

    def expect(self, now: Sequence[int], soon: Sequence[int]) -> None:
        """Tell each part of its own blocks."""
        first = 0
        for part in self.parts:
            end = first + len(part.blocks)
            part.expect(
                *([n - first for n in blocks if first <= n < end] for blocks in (now, soon))
            )
            first = end

    def captions(self) -> Iterator[str]:
        """The captions of all parts."""
        return (text for part in self.parts for text in part.captions())

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read:
        """Rows of all parts, in the order asked for; each part reads its own at once."""
        home = np.searchsorted(self.ends, rows, side="right")
        images: list = [None] * len(rows)
        texts: list = [""] * len(rows)
        bad: Counter = Counter()
        for number in np.unique(home):
            (places,) = np.nonzero(home == number)
            first = self.ends[number] - len(self.parts[number])
            found = self.parts[number].read(rows[places] - first, picks[places])
            for place, image, text in zip(places, found.images, found.texts, strict=True):
                images[place], texts[place] = image, text
            bad += found.bad
        return Read(np.stack(images), texts, bad)


def one_by_one(
    read: Callable[[int, int], tuple[np.ndarray, str]],
    rows: Int[np.ndarray, " n"],
    picks: UInt64[np.ndarray, " n"],
    count: int,
) -> Read:
    """Rows read one at a time, each bad one replaced by another that its pick draws.

    Args:
        read: square pixels and caption of a row, drawn by its pick. What it raises counts as one
            bad sample; but for an error of the disk or of the whole data set, which ends the run.
        rows: wanted.
        picks: of the rows.
        count: of all rows, among which replacements are drawn.

    Raises:
        TrainingFailed: a row and `TRIES` others in its place are all unreadable.
        OSError: the disk fails.
        DataError: the data are others than before.
    """
    bad: Counter = Counter()
    found = [
        _readable(read, int(row), int(pick), count, bad)
        for row, pick in zip(rows, picks, strict=True)
    ]
    images, texts = zip(*found, strict=True)
    return Read(np.stack(images), list(texts), bad)


def texts_in(captions: Mapping[str, Sequence[str]], languages: Sequence[str]) -> list[str]:
    """The captions in some languages, one language after the other."""
    return [text for code in languages for text in captions.get(code, ())]


def caption(texts: Sequence[str], pick: int) -> str:
    """The caption that a pick draws; each equally often.

    Raises:
        BadImage: there is none ("no caption").
    """
    if not texts:
        raise BadImage("no caption")
    return texts[drawn(pick, _CAPTION, len(texts))]


def _readable(
    read: Callable[[int, int], tuple[np.ndarray, str]],
    row: int,
    pick: int,
    count: int,
    bad: Counter,
) -> tuple[np.ndarray, str]:
    for attempt in range(TRIES + 1):
        try:
            return read(row, pick)
        except BadImage as error:
            reason, cause = error.reason, error
        except (OSError, data.DataError, TrainingFailed):
            raise  # the disk fails, or the data were changed: that says nothing of this sample
        except Exception as error:
            reason = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
            cause = error
        bad[reason] += 1
        row = drawn(pick, key(_OTHER, attempt), count)
    raise TrainingFailed(
        f"expected a readable sample, got {TRIES + 1} bad ones in a row "
        f"({', '.join(sorted(bad))}); check the data"
    ) from cause
