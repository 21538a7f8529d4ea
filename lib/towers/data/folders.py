"""Folders of images: with captions beside them, or sorted into one folder per class."""

import csv
from collections.abc import Iterator
from pathlib import Path

from towers.data.errors import BadImage, DataError
from towers.data.images import read_bytes
from towers.data.intake import (
    Tally,
    clean_captions,
    clean_line,
    confined,
    inside,
    walk,
)
from towers.data.items import Item
from towers.data.languages import language_code
from towers.files import user_path

MAX_TEXT_BYTES = 2**20
"""Size above which the caption file of one image is refused."""
MAX_TABLE_BYTES = 2**28
"""Size above which a captions.csv is refused."""
_PART_FOLDERS = {
    "train": "train",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "test": "test",
}


def local_path(path: str) -> Path:
    """The path that a person gave, as `files.user_path` reads it.

    Raises:
        DataError: it is none that this system could have.
    """
    try:
        return user_path(path)
    except ValueError as error:
        raise DataError(str(error)) from None


def existing_folder(path: str) -> Path:
    """A folder that is there.

    Raises:
        DataError: it is not.
    """
    folder = local_path(path)
    try:
        found = folder.is_dir()
    except (OSError, ValueError):
        found = False
    if not found:
        raise DataError(f"expected a folder at {path!r}, found none; give the path of your data")
    return folder


def captioned(path: str, tally: Tally) -> Iterator[Item]:
    """Drafts of `folder:PATH`: images, each with a .txt of the same name or a row in captions.csv.

    A .txt holds English captions in UTF-8, one a line. captions.csv (UTF-8, commas) has the
    columns image and caption, and optionally language and label; an image may have many rows.
    Sub-folders are allowed; the first of them becomes the category.
    """
    root = existing_folder(path)
    table = root / "captions.csv"
    yield from _from_table(root, table, tally) if table.is_file() else _from_texts(root, tally)


def by_class(path: str, tally: Tally) -> Iterator[Item]:
    """Drafts of `imagefolder:PATH`: PATH/class/image, or PATH/train/class/image with parts.

    The folder's name is the class name, with spaces for underscores.
    """
    root = existing_folder(path)
    names = walk(root, tally)
    parted = bool(names) and all(
        name.count("/") >= 2 and name.split("/")[0] in _PART_FOLDERS for name in names
    )
    for name, file in confined(root, names, tally):
        folders = name.split("/")[:-1]
        split = _PART_FOLDERS[folders.pop(0)] if parted else None
        if not folders:
            tally.dropped["no class folder"] += 1
            continue
        label = clean_line(folders[0].replace("_", " "))
        yield Item("", _stem(name), file, label=label or folders[0], split=split)


def _from_texts(root: Path, tally: Tally) -> Iterator[Item]:
    for name, file in confined(root, walk(root, tally), tally):
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
        captions = clean_captions(text.splitlines(), tally)
        if captions:
            yield Item("", _stem(name), file, {"en": captions}, category=_category(name))
        else:
            tally.dropped["no caption"] += 1


def _from_table(root: Path, table: Path, tally: Tally) -> Iterator[Item]:
    rows: dict[str, dict[str, list[str]]] = {}
    labels: dict[str, str] = {}
    for row in _rows(table, tally):
        language = language_code(row.get("language") or "en")
        if language is None:
            tally.dropped["not a language"] += 1
            continue
        try:
            caption, label = _utf8(row["caption"]), _utf8(row.get("label"))
        except UnicodeEncodeError:
            tally.dropped["caption not UTF-8"] += 1
            continue
        texts = rows.setdefault(row["image"], {}).setdefault(language, [])
        texts.append(caption)
        if label and row["image"] not in labels:
            labels[row["image"]] = clean_line(label)
    for name, file in confined(root, rows, tally):
        captions = {code: clean_captions(texts, tally) for code, texts in rows[name].items()}
        if any(captions.values()):
            yield Item("", _stem(name), file, captions, labels.get(name) or None, _category(name))
        else:
            tally.dropped["no caption"] += 1


def _rows(table: Path, tally: Tally) -> Iterator[dict[str, str]]:
    """Rows with an image; what csv itself refuses and rows that name none are counted."""
    if table.stat().st_size > MAX_TABLE_BYTES:
        raise DataError(
            f"expected at most {MAX_TABLE_BYTES} bytes in {str(table)!r}, got "
            f"{table.stat().st_size}; use shards:PATTERN for a set of this size"
        )
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        try:
            columns = reader.fieldnames or []
        except csv.Error:
            columns = []
        if not {"image", "caption"} <= set(columns):
            raise DataError(
                f"expected columns image and caption in {str(table)!r}, got "
                f"{ascii(columns)[:80]}; name them in its first line"
            )
        while True:
            try:
                row = next(reader, None)
            except csv.Error:
                tally.dropped["damaged row"] += 1
                continue
            if row is None:
                return
            if row["image"]:
                yield row
            else:
                tally.dropped["row without image"] += 1


def _utf8(text: str | None) -> str:
    """The text; UnicodeEncodeError where the file's bytes were not UTF-8."""
    (text or "").encode()
    return text or ""


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _category(name: str) -> str | None:
    return name.split("/")[0] if "/" in name else None
