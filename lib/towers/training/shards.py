"""WebDataset shards read at random: any sample of any shard, from its place in the tar.

The headers of each shard are scanned once; where its samples' members lie is kept in the cache.
Members are read only when they are asked for, with the checks of `towers.data.shards`.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int, UInt64

from towers import files
from towers.data import BadImage, DataError
from towers.data.errors import absent
from towers.data.images import open_image
from towers.data.reports import Tally
from towers.data.shards import (
    DAMAGE,
    PICTURES,
    Sample,
    beyond,
    draft,
    expanded,
    picture_of,
    samples,
    shard_paths,
)
from towers.progress import tqdm
from towers.training.remote import Ahead, Remote, tidy
from towers.training.samples import Read, Samples, Squares, caption, one_by_one, texts_in

INDEX_VERSION = 3
SCANS = 8  # shards fetched and scanned at a time
_COLUMNS = ("picture", "txt", "json")
"""Members of a sample that are read; the index holds the offset and the length of each."""
_AHEAD = Ahead()


@dataclass(frozen=True, eq=False)
class Index:
    """Where the samples of a shard lie, by its headers.

    Attributes:
        places: where each sound sample's picture, text and JSON start, and their lengths; 0 where
            there is none.
        left_out: reason -> the other samples.
        size: of the shard, in bytes.
    """

    places: Int[np.ndarray, "samples members 2"]
    left_out: Counter
    size: int


@dataclass(frozen=True, eq=False)
class ShardSamples(Samples):
    """Samples of shards, each shard a block.

    Attributes:
        tars: near or far.
        squares: what their pictures become.
        languages: of the captions.
    """

    tars: tuple[Path | Remote, ...]
    squares: Squares
    languages: tuple[str, ...] = ("en",)

    _scanned: tuple[Index, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        with ThreadPoolExecutor(SCANS) as pool:
            done, count = pool.map(index, self.tars), len(self.tars)
            scanned = tuple(tqdm(done, "scanning shards", total=count, unit="tar", disable=None))
        if not sum(len(shard.places) for shard in scanned):
            raise DataError(f"expected samples in {count} shards, got none; check what they hold")
        object.__setattr__(self, "_scanned", scanned)

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Samples of each shard."""
        return tuple(len(shard.places) for shard in self._scanned)

    @property
    def left_out(self) -> Counter:
        """Samples whose headers show that they are none, and those lost with damaged shards."""
        known = sum((shard.left_out for shard in self._scanned), Counter())
        counts = [len(shard.places) + shard.left_out.total() for shard in self._scanned]
        whole = [not DAMAGE & set(shard.left_out) for shard in self._scanned]
        return known + Counter({"in a damaged shard": beyond(counts, whole)})

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, sizes and places of all members, the squares and the languages."""
        paths = [tar.path if isinstance(tar, Remote) else tar for tar in self.tars]
        sizes = [shard.size for shard in self._scanned]
        parts = [(path.name, size) for path, size in zip(paths, sizes, strict=True)]
        content = json.dumps([parts, self.squares.recipe, self.languages]).encode()
        return files.sha256(
            b"".join([content, *(shard.places.tobytes() for shard in self._scanned)])
        )

    @cached_property
    def _ends(self) -> Int[np.ndarray, " shards"]:
        return np.cumsum(self.blocks)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def captions(self) -> Iterator[str]:
        """All captions in the languages; bad samples have none."""
        for row in range(len(self)):
            try:
                yield from self._item(row)[1]
            except BadImage:
                continue

    def read(self, rows: Int[np.ndarray, " n"], picks: UInt64[np.ndarray, " n"]) -> Read:
        """One square and one caption for each row."""
        return one_by_one(self._one, rows, picks, len(self))

    def expect(self, now: Sequence[int], soon: Sequence[int]) -> None:
        """Fetch ahead; blocks that are read now, and those that are read next."""
        near = [[self.tars[n] for n in blocks if isinstance(self.tars[n], Remote)]
                for blocks in (now, soon)]  # fmt: skip
        if any(near):
            _AHEAD.expect(*near)

    def _one(self, row: int, pick: int) -> tuple[np.ndarray, str]:
        picture, texts = self._item(row)
        text = caption(texts, pick)
        return self.squares(open_image(picture), pick), text

    def _item(self, row: int) -> tuple[bytes, list[str]]:
        """The encoded picture of a row, and its captions."""
        shard = int(np.searchsorted(self._ends, row, side="right"))
        first = self._ends[shard] - self.blocks[shard]
        place = self._scanned[shard].places[row - first]
        try:
            with self._opened(shard) as file:
                parts = {
                    name: os.pread(file.fileno(), int(length), int(offset))
                    for name, (offset, length) in zip(_COLUMNS, place, strict=True)
                    if length
                }
        except OSError as error:
            if not absent(error):
                raise
            raise BadImage("missing", f"cannot open shard {str(self.tars[shard])!r}") from None
        picture = parts.pop("picture")
        return picture, texts_in(draft("", parts, (), Tally()).captions, self.languages)

    def _opened(self, shard: int) -> BinaryIO:
        tar, size = self.tars[shard], self._scanned[shard].size
        if not isinstance(tar, Remote):
            return tar.open("rb")
        file = tar.open()
        if (now := os.fstat(file.fileno()).st_size) != size:
            file.close()
            raise DataError(
                f"expected the {size} bytes at {tar.url[:200]!r} that were there before, got {now};"
                " train on one state of the data"
            )
        return file


def tars(pattern: str) -> tuple[Path | Remote, ...]:
    """The shards of a pattern; those that are elsewhere are fetched when they are needed.

    Args:
        pattern: paths, or URLs (http, https, file, or what fsspec has a driver for) of
            uncompressed .tar files, with {000..123} and {a,b}; paths also with * and ?.

    Raises:
        DataError: no shard matches.
    """
    if "://" not in pattern:
        return tuple(shard_paths(pattern))
    return tuple(Remote(url) for url in expanded(pattern))


def index(tar: Path | Remote) -> Index:
    """Index a shard by its headers, or take the index from the cache.

    A sample without a picture or without a text is left out; so is one with a member that is
    doubled, too long, cut off, or of an unsafe name.

    Raises:
        DataError: there is no such file, or it cannot be had.
    """
    if isinstance(tar, Remote):
        named = [INDEX_VERSION, tar.url]
    else:
        named = [INDEX_VERSION, str(tar.resolve()), *_state(tar)]
    name = files.sha256(json.dumps(named).encode())[:32]

    def make() -> Index:
        with tar.open() if isinstance(tar, Remote) else tar.open("rb") as file:
            scanned = _scan(file)
        if isinstance(tar, Remote):
            tidy()
        return scanned

    return files.cached(f"shards/{name}.index", make, _packed, _unpacked, waiting=False)


def _packed(index: Index) -> bytes:
    return json.dumps([index.size, index.left_out]).encode() + b"\n" + index.places.tobytes()


def _unpacked(content: bytes) -> Index:
    about, _, places = content.partition(b"\n")
    size, left_out = json.loads(about)
    return Index(
        np.frombuffer(places, np.int64).reshape(-1, len(_COLUMNS), 2), Counter(left_out), size
    )


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a file's content."""
    try:
        about = path.stat()
    except OSError:
        raise DataError(f"expected a shard at {files.shown(path)}, got none; fetch it") from None
    return about.st_size, about.st_mtime_ns


def _scan(file: BinaryIO) -> Index:
    """The places of all sound samples of a shard, and what is wrong with the others."""
    sound: list[list[tuple[int, int]]] = []
    left_out: Counter = Counter()
    for sample in samples(file, left_out):
        if fault := _fault(sample):
            left_out[fault] += 1
        else:
            picture = sample.places[picture_of(sample)]
            sound.append([picture, *(sample.places.get(name, (0, 0)) for name in _COLUMNS[1:])])
    places = np.array(sound, dtype=np.int64).reshape(-1, len(_COLUMNS), 2)
    return Index(places, left_out, os.fstat(file.fileno()).st_size)


def _fault(sample: Sample) -> str | None:
    """Why a sample cannot be used, by its headers alone; None if it can."""
    try:
        picture_of(sample)
    except BadImage as error:
        return error.reason
    used = [place for name, place in sample.places.items() if name in (*PICTURES, *_COLUMNS)]
    if not any(name in sample.places for name in _COLUMNS[1:]):
        return "no caption"
    return None if all(length for _, length in used) else "empty"
