"""How a user's own files become items: cleaned, confined to their folder, checked, counted."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from towers.data.errors import BadImage, DataError
from towers.data.items import Item, Report
from towers.data.svg import Raster
from towers.data.verdicts import Verdicts

MAX_CAPTION = 1000
"""Characters after which a caption is cut; the longest text tower reads a few hundred."""
MAX_CAPTIONS = 64
"""Captions kept for one image and language."""
MAX_DEPTH = 64
"""Sub-folders within sub-folders that are entered."""
MIN_BAD = 10
"""Bad files that are always forgiven, if anything is left."""
CANDIDATE = re.compile(r"\.(png|jpe?g|jfif|gif|webp|bmp|svg|tiff?|avif|heic)$", re.IGNORECASE)
"""Names that make a file a candidate; what it is, its content says."""

_NO_FAULT = {"no caption", "no label"}
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_UNSAFE_NAME = re.compile(r"[\x00-\x1f\x7f\\]|^/|^[A-Za-z]:|(^|/)\.\.(/|$)")


@dataclass
class Tally:
    """Counts what loading keeps, drops and mends; becomes the collection's `Report`.

    Attributes:
        max_bad: share of bad candidates above which the whole set is refused.
    """

    max_bad: float = 0.05
    kept: int = 0
    dropped: Counter = field(default_factory=Counter)
    mended: Counter = field(default_factory=Counter)

    def report(self) -> Report:
        """The counts so far."""
        return Report.of(self.kept, self.dropped, self.mended)

    def refuse_if_bad(self, name: str) -> None:
        """Refuse a set with too many bad candidates.

        Raises:
            DataError: at least `MIN_BAD` candidates and more than `max_bad` of all are bad. An
                image without a caption or label is left out, but is not bad.
        """
        found = self.kept + self.dropped.total()
        bad = sum(count for reason, count in self.dropped.items() if reason not in _NO_FAULT)
        if bad >= MIN_BAD and bad > self.max_bad * found:
            raise DataError(
                f"expected at most {self.max_bad:.0%} bad files in {name}, got {bad} of {found} "
                f"({self._reasons()}); repair them or raise max_bad"
            )

    def refuse_if_empty(self, name: str) -> None:
        """Refuse a set of which nothing is left.

        Raises:
            DataError: nothing was kept.
        """
        if not self.kept:
            why = self._reasons() or "no candidates there"
            raise DataError(
                f"expected usable images in {name}, got none ({why}); help(towers.data.custom) "
                "shows every layout"
            )

    def _reasons(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common(5))


def clean_captions(texts: Iterable[object], tally: Tally) -> tuple[str, ...]:
    """Captions in NFC, without control characters, of one line each, none empty.

    Left out and counted as mended: what is not text, what is empty then, and captions beyond
    `MAX_CAPTIONS`; longer ones than `MAX_CAPTION` characters are cut at a space and counted.
    """
    kept: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            tally.mended["caption not text"] += 1
            continue
        line = clean_line(text[: 10 * MAX_CAPTION])
        if len(line) > MAX_CAPTION:
            line = line[: MAX_CAPTION + 1].rpartition(" ")[0] or line[:MAX_CAPTION]
            tally.mended["caption cut"] += 1
        if not line:
            tally.mended["caption empty"] += 1
        elif len(kept) == MAX_CAPTIONS:
            tally.mended["too many captions"] += 1
        else:
            kept.append(line)
    return tuple(kept)


def clean_line(text: str) -> str:
    """One line of NFC text: no control, direction or half characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", _UNSEEN.sub("", text)).split())


def safe_name(name: object) -> str:
    """A relative path with forward slashes that stays where it is put.

    Raises:
        BadImage: it is absolute, climbs, is long or holds control characters ("unsafe name").
    """
    if not isinstance(name, str) or not name or len(name) > 1024 or _UNSAFE_NAME.search(name):
        raise BadImage("unsafe name", repr(name)[:80])
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadImage("unsafe name", ascii(name)[:80]) from None
    return str(PurePosixPath(name))


def inside(root: Path, name: object) -> Path:
    """The path of a name under a folder, links followed.

    Raises:
        BadImage: an unsafe name, or a link that leaves the folder ("outside the folder").
    """
    path = root / safe_name(name)
    try:
        stays = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a circle of links
        stays = False
    if not stays:
        raise BadImage("outside the folder", repr(str(path))[:200])
    return path


def walk(root: Path, tally: Tally) -> list[str]:
    """Names of the image files under a folder, sorted; links to folders are not entered."""
    names, pending = [], [("", 0)]
    while pending:
        prefix, depth = pending.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError:
            tally.dropped["unreadable folder"] += 1
            continue
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH:
                    pending.append((name + "/", depth + 1))
                else:
                    tally.dropped["too deep"] += 1
            elif entry.is_symlink() and os.path.isdir(entry):
                tally.dropped["linked folder"] += 1
            elif CANDIDATE.search(entry.name):
                names.append(name)
    return sorted(names)


def confined(root: Path, names: Iterable[str], tally: Tally) -> Iterator[tuple[str, Path]]:
    """The names that stay inside a folder, with their paths; the others are counted."""
    for name in names:
        try:
            yield name, inside(root, name)
        except BadImage as error:
            tally.dropped[error.reason] += 1


def admit(drafts: Iterable[Item], tally: Tally, name: str) -> list[Item]:
    """Decode the picture of every draft once; those that are whole become items with a key.

    What was found is remembered in the cache until a file's size or time changes.

    Args:
        drafts: items without a key whose image is a path.
        tally: counts what is kept and dropped.
        name: of the set, for the cache, the progress bar and errors.

    Raises:
        DataError: too many bad ones, or none left.
    """
    drafts, items = list(drafts), []
    verdicts = Verdicts(name)
    with (
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
        tqdm(total=len(drafts), desc=f"checking {name}", unit="img", disable=None) as progress,
    ):
        for start in range(0, len(drafts), 1024):
            batch = drafts[start : start + 1024]
            for draft, verdict in zip(
                batch, pool.map(verdicts.of, (draft.image for draft in batch)), strict=True
            ):
                if verdict.reason:
                    tally.dropped[verdict.reason] += 1
                else:
                    source = Raster(draft.image) if verdict.drawing else draft.image
                    items.append(replace(draft, key=verdict.key, image=source))
                progress.update()
    verdicts.save()
    tally.kept += len(items)
    tally.refuse_if_bad(name)
    tally.refuse_if_empty(name)
    return items
