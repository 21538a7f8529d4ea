"""WebDataset shards read at random: any sample of any shard, from its place in the tar.

The headers of each shard are scanned once; where its samples' members lie is kept in the cache. A
remote shard is fetched first, whole or not at all. Members are read only when they are asked for,
with the checks of `towers.data.shards`.
"""

import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int, UInt64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from tqdm import tqdm

from towers import files
from towers.data import BadImage, DataError
from towers.data.images import MAX_BYTES, open_image
from towers.data.intake import Tally, safe_name
from towers.data.shards import (
    MAX_TEXT_BYTES,
    PICTURES,
    Sample,
    draft,
    expanded,
    parted,
    shard_paths,
)
from towers.data.tars import entries
from towers.training.samples import Read, Squares, caption, one_by_one

INDEX_VERSION = 1
FETCHES = 8  # shards fetched at a time
ATTEMPTS = 3  # at fetching one
_BLOCK = 2**20
_COLUMNS = ("picture", "txt", "json")
"""Members of a sample that are read; the index holds the offset and the length of each."""


@dataclass(frozen=True, eq=False)
class Index:
    """What the headers of a shard tell.

    Attributes:
        places: where each sound sample's picture, text and JSON start, and their lengths; 0 where
            there is none.
        left_out: reason -> the other samples.
    """

    places: Int[np.ndarray, "samples members 2"]
    left_out: Counter


@dataclass(frozen=True, eq=False)
class ShardSamples:
    """Samples of shards, each shard a block.

    Attributes:
        paths: of local tars.
        squares: what their pictures become.
        languages: of the captions.
    """

    paths: tuple[Path, ...]
    squares: Squares
    languages: tuple[str, ...] = ("en",)

    @cached_property
    def _scanned(self) -> tuple["Index", ...]:
        bar = tqdm(self.paths, "scanning shards", unit="tar", disable=None)
        found = tuple(index(path) for path in bar)
        if not sum(len(shard.places) for shard in found):
            raise DataError(
                f"expected samples in {len(self.paths)} shards, got none; check what they hold"
            )
        return found

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Samples of each shard."""
        return tuple(len(shard.places) for shard in self._scanned)

    @property
    def left_out(self) -> Counter:
        """Samples whose headers show that they are none."""
        return sum((shard.left_out for shard in self._scanned), Counter())

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, sizes and places of all members, the squares and the languages."""
        parts = [(path.name, path.stat().st_size) for path in self.paths]
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
            with self.paths[shard].open("rb") as file:
                parts = {
                    name: os.pread(file.fileno(), int(length), int(offset))
                    for name, (offset, length) in zip(_COLUMNS, place, strict=True)
                    if length
                }
        except OSError:
            raise BadImage("missing", f"cannot open shard {str(self.paths[shard])!r}") from None
        picture = parts.pop("picture")
        sample = Sample("", {"png": picture, **parts})
        captions = draft(sample, [], Tally())[1].captions
        return picture, [text for code in self.languages for text in captions.get(code, ())]


def local(pattern: str) -> tuple[Path, ...]:
    """The shards of a pattern as local files, fetched first where it names others.

    Args:
        pattern: paths, or URLs (http, https, file, or what fsspec has a driver for) of
            uncompressed .tar files, with {000..123} and {a,b}; paths also with * and ?.

    Raises:
        DataError: no shard matches, or one cannot be had whole.
    """
    if "://" not in pattern:
        return tuple(shard_paths(pattern))
    with ThreadPoolExecutor(FETCHES) as pool:
        names = expanded(pattern)
        done = pool.map(fetched, names)
        return tuple(tqdm(done, "fetching shards", total=len(names), unit="tar", disable=None))


def fetched(url: str) -> Path:
    """A remote shard in the cache: whole, and a sound tar, or not there.

    Processes that ask for it at the same time fetch it once.

    Raises:
        DataError: it cannot be had, or is cut short or damaged.
    """
    path = files.cache_home() / "shards" / f"{files.sha256(url.encode())[:32]}.tar"
    with files.locked(path):
        for attempt in range(ATTEMPTS):
            if path.is_file():
                break
            try:
                _fetch(url, path)
            except (OSError, ValueError, ImportError, HTTPException) as error:
                cause = getattr(error, "reason", None) or error
                cause = " ".join(str(cause).split())[:200] or type(error).__name__
                if attempt == ATTEMPTS - 1 or isinstance(error, ImportError):
                    raise DataError(
                        f"expected a whole shard at {url[:200]!r}, got {cause}; check the address"
                    ) from None
                time.sleep(2**attempt)
    return path


def index(path: Path) -> Index:
    """What the headers of a shard tell, from the cache if they were read before.

    A sample without a picture or without a text is left out; so is one with a member that is
    doubled, too long, cut off, or of an unsafe name.

    Raises:
        DataError: there is no such file.
    """
    try:
        about = path.stat()
    except OSError:
        raise DataError(f"expected a shard at {files.shown(path)}, got none; fetch it") from None
    named = json.dumps([INDEX_VERSION, str(path.resolve()), about.st_size, about.st_mtime_ns])
    cached = files.cache_home() / "shards" / f"{files.sha256(named.encode())[:32]}.index"
    try:
        with safe_open(cached, "np") as file:
            places, about = file.get_tensor("places"), file.metadata()
        if files.sha256(places.tobytes()) == about["sha256"]:
            return Index(places, Counter(json.loads(about["left_out"])))
    except (OSError, ValueError, SafetensorError, KeyError, TypeError):
        pass
    found = _scan(path)
    about = {
        "sha256": files.sha256(found.places.tobytes()),
        "left_out": json.dumps(found.left_out),
    }
    files.atomic_write(cached, to_bytes({"places": found.places}, about))
    return found


def _scan(path: Path) -> Index:
    """Neighbouring members of one name are a sample."""
    found: list[list[tuple[int, int]]] = []
    left_out: Counter = Counter()
    with path.open("rb") as file:
        for _, members in groupby(_members(file, left_out), key=itemgetter(0)):
            places: dict[str, tuple[int, int]] = {}
            faults = [wrong for member in members if (wrong := _add(places, *member[1:]))]
            if not faults and not ("picture" in places and len(places) > 1):
                faults = ["no caption" if "picture" in places else "no picture"]
            if faults:
                left_out[faults[0]] += 1
            else:
                found.append([places.get(column, (0, 0)) for column in _COLUMNS])
    return Index(np.array(found, dtype=np.int64).reshape(-1, len(_COLUMNS), 2), left_out)


def _members(
    file: BinaryIO, left_out: Counter
) -> Iterator[tuple[str, str, tuple[int, int], str | None]]:
    """Sample, kind and place of each member that matters, and what is wrong with it."""
    for entry in entries(file):
        place = entry.offset, entry.length
        if entry.fault and not entry.name:
            left_out[entry.fault] += 1
            continue
        try:
            name, ending = parted(safe_name(entry.name))
        except BadImage as error:
            yield entry.name, "", place, error.reason
            continue
        kind = "picture" if ending in PICTURES else ending
        if entry.fault or kind in _COLUMNS:
            yield name, kind or "", place, entry.fault


def _add(
    places: dict[str, tuple[int, int]], kind: str, place: tuple[int, int], fault: str | None
) -> str | None:
    """Note where a member lies; what is wrong with it, if anything."""
    if fault:
        return fault
    if kind in places:
        return "duplicate member"
    if place[1] > (MAX_BYTES if kind == "picture" else MAX_TEXT_BYTES):
        return "too many bytes"
    places[kind] = place
    return None if place[1] else "empty"


def _fetch(url: str, path: Path) -> None:
    """Bring a shard to a hidden file beside its place, check it, and move it there."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file, _opened(url) as source:
            expected = _length(source)
            while block := source.read(_BLOCK):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if expected not in (None, part.stat().st_size):
            raise ValueError(f"{part.stat().st_size} bytes of {expected}")
        with part.open("rb") as file:
            faults = Counter(entry.fault for entry in entries(file) if entry.fault)
        if cut := faults["truncated archive"]:
            raise ValueError(f"a tar that is cut off in {cut} place")
        os.replace(part, path)
        files.sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _length(source: BinaryIO) -> int | None:
    """How many bytes a source says that it has; None where it does not say."""
    said = getattr(source, "headers", {}).get("Content-Length", getattr(source, "size", None))
    return None if said is None else int(said)


def _opened(url: str) -> BinaryIO:
    if url.startswith(("http://", "https://", "file://")):
        return urllib.request.urlopen(url, timeout=60)
    import fsspec

    return fsspec.open(url, "rb").open()
