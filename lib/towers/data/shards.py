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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from braceexpand import UnbalancedBracesError, braceexpand
from PIL import Image

from towers.data.errors import BadImage, DataError, absent
from towers.data.folders import class_list, local_path
from towers.data.images import MAX_BYTES, open_image
from towers.data.intake import clean_captions, clean_line, safe_name, spelt, text_lines
from towers.data.items import Item, content_key
from towers.data.languages import language_code
from towers.data.reports import Tally
from towers.data.tars import entries
from towers.progress import tqdm

MAX_SHARDS = 100_000
"""Shards that a pattern may stand for."""
MAX_TEXT_BYTES = 2**20
"""Size above which a caption, JSON or class member is refused."""
PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
TEXTS = ("txt", "json", "cls")
DAMAGE = frozenset({"damaged header", "truncated archive"})
"""Faults after which nobody knows how many samples there were."""
DOTTED = "dot in its name"

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
        places: ending -> where a member's content starts in the tar, and its length.
        fault: why it is not used; None where nothing is wrong with its members.
    """

    name: str
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    fault: str | None = None


def from_shards(pattern: str, tally: Tally) -> tuple[list[Item], tuple[str, ...]]:
    """The items of `shards:PATTERN`, and the classes of their classnames.txt, if there is one.

    Every picture is decoded once, and left where it lies.

    Args:
        pattern: paths of local, uncompressed .tar files, with {000..123}, {a,b}, * and ?; a file
            of that very name is read instead.
        tally: counts what is kept and dropped.

    Raises:
        DataError: no shard matches, shards have different lists of classes, a label is not in the
            list, or too many samples were bad so far.
    """
    paths, items = shard_paths(pattern), []
    names = _class_names(paths)
    counts, whole = [], []
    for shard in tqdm(paths, "reading shards", unit="tar", disable=None):
        before, lost = tally.kept + tally.dropped.total(), _damage(tally)
        items += _items(shard, names, tally)
        counts.append(tally.kept + tally.dropped.total() - before)
        whole.append(shard.is_file() and _damage(tally) == lost)
        tally.refuse_if_bad(f"shards:{pattern}")
    tally.dropped["in a missing or damaged shard"] += beyond(counts, whole)
    tally.refuse_if_bad(f"shards:{pattern}")
    tally.refuse_if_empty(f"shards:{pattern}")
    return items, names


def beyond(counts: Sequence[int], whole: Sequence[bool]) -> int:
    """How many samples were probably lost in shards that are not whole, beyond those counted.

    A shard that is whole on the average of the others is what one that is not is compared with.

    Args:
        counts: samples seen in each shard, good or bad.
        whole: whether a shard was there and without damage.
    """
    sound = [count for count, sane in zip(counts, whole, strict=True) if sane]
    usual = round(sum(sound) / len(sound)) if sound else 0
    parts = zip(counts, whole, strict=True)
    return sum(max(usual - count, not count) for count, sane in parts if not sane)


def expanded(pattern: str) -> list[str]:
    """What a pattern with {000..123} and {a,b} stands for, a first ~ being the home folder.

    Raises:
        DataError: too many names, or braces that are not paired.
    """
    named = pattern if "://" in pattern else str(local_path(pattern))
    if os.path.lexists(named):
        return [named]
    ranges = [(int(low), int(high)) for low, high in _RANGE.findall(pattern)]
    if any(abs(high - low) >= MAX_SHARDS for low, high in ranges) or len(ranges) > 4:
        raise DataError(f"expected at most {MAX_SHARDS} shards, got {pattern[:80]!r}; narrow it")
    try:
        found = list(islice(braceexpand(named), MAX_SHARDS + 1))
    except (UnbalancedBracesError, ValueError) as error:
        raise DataError(
            f"expected paired braces in {pattern[:80]!r} ({error}); pair them"
        ) from None
    if len(found) > MAX_SHARDS:
        raise DataError(f"expected at most {MAX_SHARDS} shards, got {pattern[:80]!r}; narrow it")
    return found


def shard_paths(pattern: str) -> list[Path]:
    """The files that a pattern stands for; one that it names and that is absent is kept.

    Raises:
        DataError: none, too many, or not plain local .tar files.
    """
    if "://" in pattern or pattern.startswith("pipe:"):
        raise DataError(
            f"expected local shards, got {pattern[:80]!r}; fetch them to a folder first"
        )
    paths: list[Path] = []
    for name in expanded(pattern):
        path = spelt(Path(), name)
        found = [] if os.path.lexists(path) else sorted(map(Path, glob.glob(name)))
        paths += found or [path]
    if not 0 < len(paths) <= MAX_SHARDS or not any(path.is_file() for path in paths):
        raise DataError(
            f"expected 1 to {MAX_SHARDS} shards at {pattern[:80]!r}, found "
            f"{sum(path.is_file() for path in paths)}; check the path and the numbers"
        )
    if odd := [path.name for path in paths if path.suffix != ".tar"]:
        raise DataError(f"expected uncompressed .tar shards, got {odd[0]!r}; unpack it with gunzip")
    return paths


def _damage(tally: Tally) -> int:
    return sum(tally.dropped[reason] for reason in DAMAGE)


def _items(shard: Path, names: tuple[str, ...], tally: Tally) -> Iterator[Item]:
    if not shard.is_file():
        return
    with shard.open("rb") as file:
        for sample in samples(file, tally.dropped):
            try:
                ending = picture_of(sample)
                read = {
                    name: os.pread(file.fileno(), length, offset)
                    for name, (offset, length) in sample.places.items()
                }
                item = draft(sample.name, read, names, tally)
                open_image(read[ending], size=32)
            except BadImage as error:
                tally.dropped[error.reason] += 1
                continue
            tally.kept += 1
            member = Member(shard, *sample.places[ending])
            yield replace(item, key=content_key(read[ending]), image=member)


def samples(file: BinaryIO, left_out: Counter) -> Iterator[Sample]:
    """Neighbouring members of one name, gathered.

    Args:
        file: a tar, open for reading.
        left_out: counts damage between members, and samples that share another's name.
    """
    sample = None
    for entry in entries(file):
        if entry.fault in DAMAGE and not entry.name:
            left_out[entry.fault] += 1
            continue
        try:
            name, ending = _parted(safe_name(entry.name))
            fault = entry.fault
        except BadImage as error:
            name, ending, fault = entry.name, "", error.reason
        if ending is None:
            continue
        if sample is None or sample.name != name:
            if sample is not None:
                yield _gathered(sample, left_out)
            sample = Sample(name)
        _add(sample, ending, (entry.offset, entry.length), fault)
    if sample is not None:
        yield _gathered(sample, left_out)


def _parted(name: str) -> tuple[str, str | None]:
    """A member's name without and with its ending; no ending: it is no part of a sample."""
    found = _NAME.fullmatch(name)
    return (found.group(1), found.group(2).lower()) if found else (name, None)


def _add(sample: Sample, ending: str, place: tuple[int, int], fault: str | None) -> None:
    """Note where a member lies, or why the sample is lost."""
    kind = ending.rpartition(".")[2]
    if sample.fault or not (fault or kind in PICTURES or kind in TEXTS):
        return
    if fault:
        sample.fault = fault
    elif ending in sample.places:
        sample.fault = "duplicate member"
    elif place[1] > (MAX_BYTES if kind in PICTURES else MAX_TEXT_BYTES):
        sample.fault = "too many bytes"
    else:
        sample.places[ending] = place


def _gathered(sample: Sample, left_out: Counter) -> Sample:
    """The sample without members whose names hold another dot; what is lost by that is counted.

    "0001.seg.png" beside "0001.png" is no loss. "cat.1.png" with "cat.1.txt" is a sample of its
    own, which WebDataset's rule, that a name ends at its first dot, gives to "cat".
    """
    kinds: dict[str, set[bool]] = {}
    for ending in [ending for ending in sample.places if "." in ending]:
        prefix, _, kind = ending.rpartition(".")
        kinds.setdefault(prefix, set()).add(kind in PICTURES)
        del sample.places[ending]
    alone = not sample.fault and not any(ending in PICTURES for ending in sample.places)
    lost = len(kinds) if alone else sum(len(found) == 2 for found in kinds.values())
    left_out[DOTTED] += lost - bool(alone and kinds)  # the sample itself is counted by its fault
    if alone and kinds:
        sample.fault = DOTTED
    return sample


def picture_of(sample: Sample) -> str:
    """The ending of a sample's picture.

    Raises:
        BadImage: there is none, or something is wrong with a member.
    """
    if sample.fault:
        raise BadImage(sample.fault)
    ending = next((ending for ending in PICTURES if ending in sample.places), None)
    if ending is None:
        raise BadImage("no picture")
    return ending


def draft(name: str, read: dict[str, bytes], names: Sequence[str], tally: Tally) -> Item:
    """The item of a sample, without key and picture.

    Args:
        name: of the sample.
        read: ending -> content of its members; pictures are not looked at.
        names: of the classes, in the order of their numbers; none where nobody lists them.
        tally: counts captions that are left out.

    Raises:
        BadImage: a text is damaged, or there is none.
        DataError: a label that is not among the names.
    """
    try:
        about = json.loads(read.get("json", b"{}"))
        lines = text_lines(read.get("txt", b"").decode("utf-8-sig"))
        number = read.get("cls", b"").decode("ascii").strip()
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise BadImage("damaged text") from None
    if not isinstance(about, dict):
        raise BadImage("damaged text")
    texts = {"en": lines} if lines else _texts(about, tally)
    captions = {code: clean_captions(texts[code], tally) for code in texts}
    targets = about.get("targets") or {}
    if not isinstance(targets, dict):
        raise BadImage("damaged text")
    said = targets.get("class", about.get("label"))
    if not number and type(said) is int:
        number = str(said)
    label = _label(number, names) if number else said
    label = clean_line(label) or None if isinstance(label, str) else None
    if label is None and not targets and not any(captions.values()):
        raise BadImage("no caption")
    if label is not None and names and label not in names:
        raise DataError(
            f"expected a label among the {len(names)} of classnames.txt, got {label[:80]!r} in "
            f"sample {name[:80]!r}; list it there"
        )
    try:
        return Item("", name, b"", captions, {**targets, "class": label})
    except DataError:
        raise BadImage("damaged text") from None


def _texts(about: dict, tally: Tally) -> dict[str, list[object]]:
    """Captions by language, from whichever of the usual fields is there."""
    said = next((about[field] for field in ("captions", "caption", "text") if about.get(field)), [])
    if not isinstance(said, dict):
        said = {language_code(str(about.get("language") or "en")) or "en": said}
    by_language: dict[str, list[object]] = {}
    for given, texts in said.items():
        if code := language_code(str(given)):
            by_language.setdefault(code, []).extend(texts if isinstance(texts, list) else [texts])
        else:
            tally.mended["caption of no language"] += 1
    return by_language


def _label(number: str, names: Sequence[str]) -> str:
    if not (number.isdigit() and len(number) < 10):
        raise BadImage("not a class number")
    if not names:
        return str(int(number))
    if int(number) >= len(names):
        raise BadImage("not a class number")
    return names[int(number)]


def _class_names(shards: Sequence[Path]) -> tuple[str, ...]:
    """The classnames.txt that lies beside the shards or one folder up; the same for all of them."""
    homes = dict.fromkeys(shard.parent for shard in shards)
    lists = {class_list(home) or class_list(home.parent): home for home in homes}
    if len(lists) > 1:
        raise DataError(
            f"expected one classnames.txt for all shards, got different ones for "
            f"{' and '.join(repr(str(home)) for home in list(lists.values())[:2])}; give them one"
        )
    return next(iter(lists))
