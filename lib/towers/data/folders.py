"""Folders of images: with captions beside them, or sorted into one folder per class."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from towers.data.errors import BadImage, DataError
from towers.data.images import read_bytes
from towers.data.intake import (
    CANDIDATE,
    CAPTIONED,
    clean_captions,
    clean_line,
    confined,
    inside,
    spelt,
    text_lines,
    walk,
)
from towers.data.items import Item
from towers.data.languages import language_code
from towers.data.prompts import class_names, imagenet_as_listed
from towers.data.reports import UNNAMED, Tally
from towers.data.tables import rows as table_rows
from towers.files import user_path

MAX_TEXT_BYTES = 2**20
"""Size above which the caption file of one image is refused."""
TABLES = ("captions.csv", "captions.tsv")
_PARTS = {
    part: re.compile(words, re.IGNORECASE)
    for part, words in (
        ("train", "train(ing)?"), ("val", "val(id|idation)?|dev(el)?"), ("test", "test(ing)?"),
    )
}  # fmt: skip


def local_path(path: str) -> Path:
    """The path that a person gave, as `files.user_path` reads it, in the spelling of the disk.

    Raises:
        DataError: it is none that this system could have.
    """
    try:
        return spelt(Path(), str(user_path(path)))
    except ValueError as error:
        raise DataError(str(error)) from None


def existing_folder(path: str) -> Path:
    """A folder that is there.

    Raises:
        DataError: it is not.
    """
    folder = local_path(path)
    if not os.path.isdir(folder):
        raise DataError(f"expected a folder at {path!r}, found none; give the path of your data")
    return folder


def captioned(path: str, tally: Tally) -> Iterator[Item]:
    """Drafts of `folder:PATH`: images, each with a .txt of the same name or a row in a table.

    A .txt holds English captions in UTF-8, one a line. captions.csv or captions.tsv (UTF-8) has the
    columns image and caption (or filepath and title, as open_clip has them), and optionally
    language and label; an image may have many rows. Sub-folders are allowed; the first of them
    becomes the category.

    Raises:
        DataError: there are two tables, or one that lacks its columns.
    """
    root = existing_folder(path)
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if len(tables) > 1:
        raise DataError(f"expected one table in {path!r}, got {' and '.join(TABLES)}; remove one")
    yield from _from_table(root, tables[0], tally) if tables else _from_texts(root, tally)


def by_class(path: str, tally: Tally) -> tuple[list[Item], tuple[str, ...]]:
    """Drafts of `imagefolder:PATH`, and the names of its classes' folders.

    PATH holds class/image or, with parts, train/class/image; the parts may be called train,
    training, val, valid, validation, dev, test or testing in any case. The folder's name is the
    class name, with spaces for underscores; a class folder without a file is a class as well.

    Raises:
        DataError: part folders and class folders side by side, parts by unknown names, or two
            folders whose names make one class name.
    """
    root = existing_folder(path)
    names = walk(root, tally)
    parts = _parts(path, names)
    drafts, folders = [], dict.fromkeys(_empty(root, parts))
    for name, file in confined(root, names, tally):
        above = name.split("/")[:-1]
        split = parts[above.pop(0)] if parts and above else None
        if above:
            folders[above[0]] = None
            drafts.append(
                Item("", _stem(name), file, targets={"class": _class(above[0])}, split=split)
            )
        else:
            tally.dropped["no class folder"] += 1
    named: dict[str, str] = {}
    for folder in sorted(folders):
        if (other := named.setdefault(_class(folder), folder)) != folder:
            raise DataError(
                f"expected folders of different names in {path!r}, got {other!r} and {folder!r}, "
                f"which are both class {_class(folder)!r}; rename one"
            )
    return _listed(drafts, tuple(sorted(named)), class_list(root))


def class_list(folder: Path) -> tuple[str, ...]:
    """The lines of a folder's classnames.txt, in order; none where there is no such file.

    A list of ImageNet's 1,000 names as open_clip has it, in which two names stand twice, comes with
    these told apart.

    Raises:
        DataError: the file is not readable as UTF-8, or has an empty line or a name twice.
    """
    file = folder / "classnames.txt"
    try:
        text = read_bytes(file, MAX_TEXT_BYTES).decode("utf-8-sig")
    except BadImage as error:
        if error.reason == "missing":
            return ()
        raise DataError(f"expected class names in {str(file)!r}, got {error}") from None
    except UnicodeDecodeError:
        raise DataError(f"expected UTF-8 in {str(file)!r}, got other bytes; convert it") from None
    names = [clean_line(line) for line in text_lines(text.rstrip())]
    if names == list(imagenet_as_listed()):
        return class_names("imagenet")
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            what = f"{name!r} again (first in line {names.index(name) + 1})" if name else "none"
            raise DataError(
                f"expected a class name of its own in line {number + 1} of {str(file)!r}, got "
                f"{what}; tell the classes apart"
            )
    return tuple(names)


def _listed(
    drafts: list[Item], names: tuple[str, ...], listed: tuple[str, ...]
) -> tuple[list[Item], tuple[str, ...]]:
    """Drafts and classes by a classnames.txt: folders are its names, or numbers of its lines."""
    if not listed:
        return drafts, names
    numbers = all(name.isdecimal() for name in names)
    name_of = {n: listed[int(n)] for n in names if int(n) < len(listed)} if numbers else {}
    if unknown := [n for n in names if n not in name_of and n not in listed]:
        raise DataError(
            f"expected the {len(listed)} classes of classnames.txt as folders, got "
            f"{unknown[0]!r} as well; list it there"
        )
    classes = (draft.targets["class"] for draft in drafts)
    targets = [{"class": name_of.get(name, name)} for name in classes]
    return [replace(d, targets=target) for d, target in zip(drafts, targets, strict=True)], listed


def _class(folder: str) -> str:
    return clean_line(folder.replace("_", " ")) or folder


def _parts(path: str, names: Sequence[str]) -> dict[str, str]:
    """Part folder -> part; none where the first folders are classes.

    Raises:
        DataError: the layout can be read in two ways.
    """
    below: dict[str, set[str]] = defaultdict(set)  # first folder -> the folders in it
    for name in names:
        first, *rest = name.split("/")[:-1] or [""]
        below[first] |= {rest[0]} if rest else set()
    below.pop("", None)
    parts = {
        folder: part
        for folder in below
        for part, words in _PARTS.items()
        if words.fullmatch(folder) and below[folder]
    }
    plain = sorted(set(below) - set(parts))
    shared = set.intersection(*below.values()) if len(below) > 1 else set()
    if parts and plain:
        raise DataError(
            f"expected class folders alone or part folders alone in {path!r}, got parts "
            f"{', '.join(sorted(parts))} beside {', '.join(plain[:3])}; move one kind elsewhere, "
            f'or name one part: "imagefolder:PATH/{min(parts)}"'
        )
    if plain and not parts and all(any(w.fullmatch(f) for w in _PARTS.values()) for f in plain):
        raise DataError(
            f"expected class folders in {path!r}, got {', '.join(plain)} with pictures and no "
            "class folders in them; sort the pictures into folders by class"
        )
    if len(shared) > 1 and not parts and all(name.count("/") > 1 for name in names):
        raise DataError(
            f"expected class folders in {path!r}, got {', '.join(plain[:4])}, which all hold "
            f"{', '.join(sorted(shared)[:2])}, as parts do; call them train, val and test, or give "
            f'the one that holds the classes, as "imagefolder:PATH/{plain[0]}"'
        )
    if twice := [part for part, count in Counter(parts.values()).items() if count > 1]:
        raise DataError(
            f"expected one folder of part {twice[0]} in {path!r}, got "
            f"{', '.join(name for name in sorted(parts) if parts[name] == twice[0])}; keep one"
        )
    return parts


def _empty(root: Path, parts: dict[str, str]) -> list[str]:
    """Class folders that hold nothing at all: classes of which there is no picture."""
    homes = [root / part for part in parts] or [root]
    return [
        folder.name
        for home in homes
        for folder in home.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and not any(folder.iterdir())
    ]


def _from_texts(root: Path, tally: Tally) -> Iterator[Item]:
    names = walk(root, tally, CAPTIONED)
    pictures = [name for name in names if CANDIDATE.search(name)]
    known = {spelt_alike(_stem(name)) for name in pictures}
    texts = [name for name in names if not CANDIDATE.search(name)]
    tally.dropped["text without a picture"] += sum(
        spelt_alike(_stem(name)) not in known for name in texts
    )
    for name, file in confined(root, pictures, tally):
        try:
            beside = inside(root, _stem(name) + ".txt")
            text = read_bytes(beside, MAX_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError:
            tally.dropped["caption not UTF-8"] += 1
            continue
        except BadImage as error:
            missing = error.reason == "missing"
            tally.dropped["no caption" if missing else f"caption file {error.reason}"] += 1
            continue
        captions = clean_captions(text_lines(text), tally)
        if captions:
            yield Item("", _stem(name), file, {"en": captions}, category=_category(name))
        else:
            tally.dropped["no caption"] += 1


def _from_table(root: Path, table: Path, tally: Tally) -> Iterator[Item]:
    present = {spelt_alike(name): name for name in walk(root, tally)}
    rows: dict[str, dict[str, list[str]]] = {}
    labels: dict[str, str] = {}
    before = tally.dropped.total()
    for row in table_rows(table, present, tally):
        language = language_code(row.get("language") or "en")
        if language is None:
            tally.dropped["not a language"] += 1
            continue
        try:
            caption, label = _utf8(row["caption"]), _utf8(row.get("label"))
        except UnicodeEncodeError:
            tally.dropped["caption not UTF-8"] += 1
            continue
        name = _named(row["image"], root, present)
        rows.setdefault(name, {}).setdefault(language, []).append(caption)
        if label and clean_line(label) != labels.setdefault(name, clean_line(label)):
            tally.mended["second label of a picture"] += 1
    damaged = tally.dropped.total() - before  # rows, each of which may have named a picture
    tally.dropped[UNNAMED] += max(0, len(set(present.values()) - set(rows)) - damaged)
    for name, file in confined(root, rows, tally):
        captions = {code: clean_captions(texts, tally) for code, texts in rows[name].items()}
        if any(captions.values()):
            targets = {"class": labels.get(name) or None}
            yield Item("", _stem(name), file, captions, targets, _category(name))
        else:
            tally.dropped["no caption"] += 1


def _named(given: str, root: Path, present: dict[str, str]) -> str:
    """The name on disk of a picture of a table: other ways to write the same path are read."""
    relative = os.path.relpath(given, root) if given.startswith(f"{root}/") else given
    for spelling in (relative, relative.replace("\\", "/")):
        if name := present.get(spelt_alike(os.path.normpath(spelling))):
            return name
    return given


def spelt_alike(name: str) -> str:
    """A name in Unicode's form NFC: the same for all spellings of one file."""
    return unicodedata.normalize("NFC", name)


def _utf8(text: str | None) -> str:
    """The text; UnicodeEncodeError where the file's bytes were not UTF-8."""
    (text or "").encode()
    return text or ""


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _category(name: str) -> str | None:
    return name.split("/")[0] if "/" in name else None
