"""WebDataset shards: tar files whose members of one name, but for the ending, are one sample.

Of a sample, the picture (.jpg .jpeg .png .webp .gif .bmp), the captions (.txt in English, one a
line; or .json with "caption", "captions" or "text", a text, a list, or lists by language) and the
class (.cls, a number) are read. Nothing is ever unpickled, run or written to disk, and no name
inside a tar is used as a path.
"""

import glob
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from braceexpand import UnbalancedBracesError, braceexpand
from PIL import Image
from tqdm import tqdm

from towers.data.errors import BadImage, DataError, absent
from towers.data.images import MAX_BYTES, open_image, read_bytes
from towers.data.intake import Tally, clean_captions, clean_line, safe_name
from towers.data.items import Item, content_key
from towers.data.languages import language_code
from towers.data.tars import entries

MAX_SHARDS = 100_000
"""Shards that a pattern may stand for."""
MAX_TEXT_BYTES = 2**20
"""Size above which a caption, JSON or class member is refused."""
PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
TEXTS = ("txt", "json", "cls")

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)")


@dataclass(frozen=True)
class Member:
    """A picture inside a tar, read where it lies; an item's image."""

    shard: Path
    offset: int
    length: int

    def __call__(self) -> Image.Image:
        """Read and decode it.

        Raises:
            BadImage: the shard is gone or has changed.
            OSError: the disk fails.
        """
        try:
            with self.shard.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as error:
            if not absent(error):
                raise
            raise BadImage("missing", f"cannot open shard {str(self.shard)!r}") from None
        return open_image(data)


@dataclass
class Sample:
    """Members of one name; the first fault condemns them all.

    Attributes:
        name: without endings.
        parts: ending -> content.
        offsets: ending -> where the content starts in the tar.
        fault: why it is not used; None for a good one.
    """

    name: str
    parts: dict[str, bytes] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    fault: str | None = None


def stream_shards(pattern: str, tally: Tally | None = None) -> Iterator[Item]:
    """Items one after another, in the order of the shards, with one sample in memory at a time.

    Each item brings its whole picture, decoded.

    Args:
        pattern: paths of local, uncompressed .tar files, with {000..123}, {a,b}, * and ?.
        tally: counts what is kept and dropped; give one to look at it.

    Raises:
        DataError: no shard matches; or, at the end of a shard, too many samples were bad so far.
    """
    yield from _items(
        pattern, tally or Tally(), None, lambda member, picture: picture.copy, progress=False
    )


def from_shards(pattern: str, tally: Tally) -> Iterator[Item]:
    """The items of `shards:PATTERN`, checked by decoding them, each picture left where it lies.

    Raises:
        DataError: as `stream_shards`.
    """
    yield from _items(pattern, tally, 256, lambda member, picture: member, progress=True)


def expanded(pattern: str) -> list[str]:
    """What a pattern with {000..123} and {a,b} stands for, a first ~ being the home folder.

    Raises:
        DataError: too many names, or braces that are not paired.
    """
    ranges = [(int(low), int(high)) for low, high in _RANGE.findall(pattern)]
    if any(abs(high - low) >= MAX_SHARDS for low, high in ranges) or len(ranges) > 4:
        raise DataError(f"expected at most {MAX_SHARDS} shards, got {pattern[:80]!r}; narrow it")
    try:
        found = list(islice(braceexpand(os.path.expanduser(pattern)), MAX_SHARDS + 1))
    except (UnbalancedBracesError, ValueError) as error:
        raise DataError(
            f"expected paired braces in {pattern[:80]!r} ({error}); pair them"
        ) from None
    if len(found) > MAX_SHARDS:
        raise DataError(f"expected at most {MAX_SHARDS} shards, got {pattern[:80]!r}; narrow it")
    return found


def shard_paths(pattern: str) -> list[Path]:
    """The files that a pattern stands for; one that braces name and that is absent is kept.

    Raises:
        DataError: none, too many, or not plain local .tar files.
    """
    if "://" in pattern or pattern.startswith("pipe:"):
        raise DataError(
            f"expected local shards, got {pattern[:80]!r}; fetch them to a folder first"
        )
    paths: list[Path] = []
    for name in expanded(pattern):
        paths += map(Path, sorted(glob.glob(name)) if glob.has_magic(name) else [name])
    if not 0 < len(paths) <= MAX_SHARDS or not any(path.is_file() for path in paths):
        raise DataError(
            f"expected 1 to {MAX_SHARDS} shards at {pattern[:80]!r}, found "
            f"{sum(path.is_file() for path in paths)}; check the path and the numbers"
        )
    if odd := [path.name for path in paths if path.suffix != ".tar"]:
        raise DataError(f"expected uncompressed .tar shards, got {odd[0]!r}; unpack it with gunzip")
    return paths


def _items(
    pattern: str,
    tally: Tally,
    size: int | None,
    source: Callable[[Member, Image.Image], Callable[[], Image.Image]],
    progress: bool,
) -> Iterator[Item]:
    paths = shard_paths(pattern)
    for shard in tqdm(paths, "reading shards", unit="tar", disable=None if progress else True):
        names = _class_names(shard)
        for sample in _samples(shard, tally):
            try:
                ending, item = draft(sample, names, tally)
                data = sample.parts[ending]
                picture = open_image(data, size=size)
            except BadImage as error:
                tally.dropped[error.reason] += 1
                continue
            tally.kept += 1
            member = Member(shard, sample.offsets[ending], len(data))
            yield replace(item, key=content_key(data), image=source(member, picture))
        tally.refuse_if_bad(f"shards:{pattern}")
    tally.refuse_if_empty(f"shards:{pattern}")


def _samples(shard: Path, tally: Tally) -> Iterator[Sample]:
    """Neighbouring members of one name, gathered; damage between them is counted."""
    if not shard.is_file():
        tally.dropped["missing shard"] += 1
        return
    sample = None
    with shard.open("rb") as file:
        for entry in entries(file):
            if entry.fault in ("damaged header", "truncated archive") and not entry.name:
                tally.dropped[entry.fault] += 1
                continue
            try:
                name, ending = parted(safe_name(entry.name))
                fault = entry.fault
            except BadImage as error:
                name, ending, fault = entry.name, "", error.reason
            if ending is None:
                continue
            if sample is None or sample.name != name:
                if sample is not None:
                    yield sample
                sample = Sample(name)
            _add(sample, ending, file, entry.offset, entry.length, fault)
    if sample is not None:
        yield sample


def parted(name: str) -> tuple[str, str | None]:
    """A member's name without and with its ending; no ending: it is no part of a sample."""
    found = _NAME.fullmatch(name)
    return (found.group(1), found.group(2).lower()) if found else (name, None)


def _add(
    sample: Sample, ending: str, file: BinaryIO, offset: int, length: int, fault: str | None
) -> None:
    """Read one member into its sample, or note why the sample is lost."""
    if sample.fault or not (fault or ending in PICTURES or ending in TEXTS):
        return
    if fault:
        sample.fault = fault
    elif ending in sample.parts:
        sample.fault = "duplicate member"
    elif length > (MAX_BYTES if ending in PICTURES else MAX_TEXT_BYTES):
        sample.fault = "too many bytes"
    else:
        file.seek(offset)
        sample.parts[ending] = file.read(length)
        sample.offsets[ending] = offset
    if sample.fault:
        sample.parts.clear()


def draft(sample: Sample, names: list[str], tally: Tally) -> tuple[str, Item]:
    """The ending of the picture, and the item without it; BadImage says why there is none."""
    if sample.fault:
        raise BadImage(sample.fault)
    ending = next((ending for ending in PICTURES if ending in sample.parts), None)
    if ending is None:
        raise BadImage("no picture")
    try:
        about = json.loads(sample.parts.get("json", b"{}"))
        lines = sample.parts.get("txt", b"").decode("utf-8-sig").splitlines()
        number = sample.parts.get("cls", b"").decode("ascii").strip()
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise BadImage("damaged text") from None
    if not isinstance(about, dict):
        raise BadImage("damaged text")
    texts = {"en": lines} if lines else _texts(about)
    captions = {code: clean_captions(texts[code], tally) for code in texts}
    label = _label(number, names) if number else about.get("label")
    label = clean_line(label) or None if isinstance(label, str) else None
    if label is None and not any(captions.values()):
        raise BadImage("no caption")
    return ending, Item("", sample.name, b"", captions, label=label)


def _texts(about: dict) -> dict[str, list[object]]:
    """Captions by language, from whichever of the usual fields is there."""
    said = next((about[field] for field in ("captions", "caption", "text") if about.get(field)), [])
    if not isinstance(said, dict):
        said = {language_code(str(about.get("language") or "en")) or "en": said}
    by_language: dict[str, list[object]] = {}
    for given, texts in said.items():
        if code := language_code(str(given)):
            by_language.setdefault(code, []).extend(texts if isinstance(texts, list) else [texts])
    return by_language


def _label(number: str, names: list[str]) -> str:
    if not (number.isdigit() and len(number) < 10):
        raise BadImage("not a class number")
    if not names:
        return str(int(number))
    if int(number) >= len(names):
        raise BadImage("not a class number")
    return names[int(number)]


def _class_names(shard: Path) -> list[str]:
    """The lines of classnames.txt beside a shard or one folder up; none where it is absent."""
    for folder in (shard.parent, shard.parent.parent):
        try:
            text = read_bytes(folder / "classnames.txt", MAX_TEXT_BYTES).decode("utf-8-sig")
        except (BadImage, UnicodeDecodeError):
            continue
        return [clean_line(line) for line in text.splitlines()]
    return []
