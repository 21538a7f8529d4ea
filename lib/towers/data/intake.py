"""How a user's own files become items: cleaned, confined to their folder, checked, counted."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

from towers.data.errors import BadImage
from towers.data.items import Item
from towers.data.reports import Tally
from towers.data.svg import Raster
from towers.data.verdicts import Verdicts
from towers.progress import tqdm

MAX_CAPTION = 1000
"""Characters after which a caption is cut; the longest text tower reads a few hundred."""
MAX_CAPTIONS = 64
"""Captions kept for one image and language."""
MAX_DEPTH = 64
"""Sub-folders within sub-folders that are entered."""
CANDIDATE = re.compile(r"\.(png|jpe?g|jfif|gif|webp|bmp|svg|tiff?|avif|heic)$", re.IGNORECASE)
"""Names that make a file a candidate; what it is, its content says."""
CAPTIONED = re.compile(rf"{CANDIDATE.pattern}|\.txt$", re.IGNORECASE)
"""The same with texts."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_FORMS = ("NFC", "NFD")
_UNSAFE_NAME = re.compile(r"[\x00-\x1f\x7f\\]|^/|^[A-Za-z]:|(^|/)\.\.(/|$)")


def text_lines(text: str) -> list[str]:
    """The lines of a text: only \\n, \\r\\n and \\r end one, as in files opened as text.

    `str.splitlines` also cuts at U+2028, NEL, VT and FF, which stand inside captions and names.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


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
    """The path of a name under a folder, in whichever Unicode form the file system spells it.

    Links to folders are followed, as their owner set them; a file that is a link must lie in the
    folder it is in or below `root`, or be a blob of the Hugging Face snapshot that `root` is in.

    Raises:
        BadImage: an unsafe name, or a link that leaves the folder ("outside the folder").
    """
    path = spelt(root, safe_name(name))
    if path.is_symlink():
        try:
            target = path.resolve()
            homes = [root.resolve(), path.parent.resolve(), *_blobs(root)]
        except (OSError, RuntimeError):  # a circle of links
            homes = []
        if not any(target.is_relative_to(home) for home in homes):
            raise BadImage("outside the folder", repr(str(path))[:200])
    return path


def spelt(root: Path, name: str) -> Path:
    """`root / name` as it is spelt on disk: as given, or in Unicode's form NFC or NFD."""
    spellings = [root / name, *(root / unicodedata.normalize(form, name) for form in _FORMS)]
    return next((path for path in spellings if os.path.lexists(path)), spellings[0])


def _blobs(root: Path) -> list[Path]:
    """Where the links of a Hugging Face snapshot lead: REPO/blobs, for REPO/snapshots/COMMIT."""
    parts = root.absolute().parts
    if "snapshots" not in parts:
        return []
    return [Path(*parts[: len(parts) - 1 - parts[::-1].index("snapshots")], "blobs").resolve()]


def walk(root: Path, tally: Tally, wanted: re.Pattern = CANDIDATE) -> list[str]:
    """Names of the image files under a folder, sorted.

    Links to folders are entered, but for those that lead to a folder they are in.
    """
    names, pending = [], [("", (root.resolve(),))]
    while pending:
        prefix, above = pending.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError:
            tally.dropped["unreadable folder"] += 1
            continue
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry):  # of a circle of links, no
                here = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
                if entry.is_symlink() and any(folder.is_relative_to(here) for folder in above):
                    tally.dropped["linked folder"] += 1
                elif len(above) <= MAX_DEPTH:
                    pending.append((name + "/", (*above, here)))
                else:
                    tally.dropped["too deep"] += 1
            elif wanted.search(entry.name):
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
