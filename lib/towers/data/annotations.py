"""The retrieval benchmarks of the papers in their own layouts: MS-COCO and Flickr30k.

Both come with five captions an image. Karpathy's JSON files (dataset_coco.json,
dataset_flickr30k.json) say which image is for training, validation and test; their parts are
those of the published results ("restval" counts as training, as is usual).
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from towers.data.errors import BadImage, DataError
from towers.data.folders import existing_folder, local_path
from towers.data.images import read_bytes
from towers.data.intake import (
    CANDIDATE,
    clean_captions,
    inside,
    safe_name,
    text_lines,
)
from towers.data.items import Item
from towers.data.reports import UNNAMED, Tally

MAX_JSON_BYTES = 2**28
"""Size above which an annotation file is refused; the largest real one has 144 MB."""

_PARTS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_COCO_FILE = re.compile(r"captions_(train|val|test)\w*\.json")
_COCO_FOLDERS = ("", "images")
_FLICKR_FOLDERS = ("", "flickr30k-images", "flickr30k_images", "images", "Images")


def coco(path: str, tally: Tally) -> Iterator[Item]:
    """Drafts of `coco:PATH`, a folder with images in train2014/, val2017/, ... or images/.

    Captions come from dataset_coco.json (Karpathy), there or in annotations/; else from
    annotations/captions_*.json, whose names say the part. PATH may also be one such file.
    """
    root, karpathy, files = _find(path, "dataset_coco.json", "captions_*.json")

    def drafts() -> Iterator[Item]:
        if karpathy:
            yield from _karpathy(root, karpathy, _COCO_FOLDERS, tally)
        for file in files:
            yield from _captions_file(root, file, tally)

    yield from _with_unnamed(drafts(), tally)


def flickr30k(path: str, tally: Tally) -> Iterator[Item]:
    """Drafts of `flickr30k:PATH`, a folder with the images in flickr30k-images/ or images/.

    Captions come from dataset_flickr30k.json (Karpathy, with parts), else from
    results_20130124.token (without parts). PATH may also be one such file.
    """
    root, karpathy, files = _find(path, "dataset_flickr30k.json", "*.token")
    if karpathy:
        drafts = _karpathy(root, karpathy, _FLICKR_FOLDERS, tally)
    else:  # beside the corrected captions of 2013 may lie the first ones, results.token
        newest = [file for file in files if file.name == "results_20130124.token"] or files
        drafts = _token_file(root, newest[0], tally)
    yield from _with_unnamed(drafts, tally)


def _with_unnamed(drafts: Iterable[Item], tally: Tally) -> Iterator[Item]:
    """The drafts; pictures beside theirs that no entry names are counted at the end."""
    used: dict[Path, set[str]] = {}
    for draft in drafts:
        used.setdefault(draft.image.parent, set()).add(draft.image.name)
        yield draft
    for folder, names in used.items():
        there = {name for name in os.listdir(folder) if CANDIDATE.search(name)}
        tally.dropped[UNNAMED] += len(there - names)


def _find(path: str, karpathy: str, pattern: str) -> tuple[Path, Path | None, list[Path]]:
    """The image root, and either Karpathy's file or the original annotations."""
    given = local_path(path)
    if given.suffix in (".json", ".token") and given.is_file():
        root = given.parent.parent if given.parent.name == "annotations" else given.parent
        return (root, None, [given]) if given.match(pattern) else (root, given, [])
    root = existing_folder(path)
    places = (root, root / "annotations")
    for place in places:
        if (place / karpathy).is_file():
            return root, place / karpathy, []
    files = sorted(file for place in places for file in place.glob(pattern) if file.is_file())
    if not files:
        raise DataError(
            f"expected {karpathy} or {pattern} in {path!r} or its annotations/, found neither; "
            "put the annotation files there"
        )
    return root, None, files


def _karpathy(root: Path, file: Path, folders: tuple[str, ...], tally: Tally) -> Iterator[Item]:
    for entry in _entries(read_json(file), "images", file, tally):
        folder, name = entry.get("filepath", ""), entry.get("filename")
        sentences = entry.get("sentences")
        texts = [
            sentence.get("raw") if isinstance(sentence, dict) else sentence
            for sentence in (sentences if isinstance(sentences, list) else [])
        ]
        split = entry.get("split")
        if not (isinstance(folder, str) and isinstance(name, str) and isinstance(split, str)):
            tally.dropped["malformed entry"] += 1
        elif split not in _PARTS:
            tally.dropped["unknown part"] += 1
        else:
            joined = f"{folder}/{name}" if folder else name
            yield from _draft(root, joined, folders, texts, _PARTS[split], tally)


def _captions_file(root: Path, file: Path, tally: Tally) -> Iterator[Item]:
    """COCO's own layout: images by id, captions that name an id; the file's name says the part."""
    content = read_json(file)
    texts: dict[int, list[object]] = {}
    for note in _entries(content, "annotations", file, tally):
        if isinstance(note.get("image_id"), int):
            texts.setdefault(note["image_id"], []).append(note.get("caption"))
        else:
            tally.mended["caption of no image"] += 1
    found = _COCO_FILE.fullmatch(file.name)
    split = _PARTS[found.group(1)] if found else None
    folders = (file.stem.removeprefix("captions_"), *_COCO_FOLDERS)
    for entry in _entries(content, "images", file, tally):
        name, number = entry.get("file_name"), entry.get("id")
        if isinstance(name, str) and isinstance(number, int):
            yield from _draft(root, name, folders, texts.pop(number, []), split, tally)
        else:
            tally.dropped["malformed entry"] += 1
    tally.mended["caption of no image"] += sum(len(rest) for rest in texts.values())


def _token_file(root: Path, file: Path, tally: Tally) -> Iterator[Item]:
    """Flickr30k's own layout: lines of image.jpg#0, a tab and a caption."""
    texts: dict[str, list[object]] = {}
    content = _read_text(file)
    for line in text_lines(content):
        name, tab, caption = line.partition("\t")
        if tab:
            texts.setdefault(name.rpartition("#")[0], []).append(caption)
        elif line.strip():
            tally.dropped["malformed entry"] += 1
    for name, captions in texts.items():
        yield from _draft(root, name, _FLICKR_FOLDERS, captions, None, tally)


def _draft(
    root: Path,
    name: str,
    folders: tuple[str, ...],
    texts: Iterable[object],
    split: str | None,
    tally: Tally,
) -> Iterator[Item]:
    """The draft of one image, from the first folder that has it; or a reason is counted."""
    try:
        safe = safe_name(name)
        places = [inside(root, f"{folder}/{safe}" if folder else safe) for folder in folders]
    except BadImage as error:
        tally.dropped[error.reason] += 1
        return
    captions = clean_captions(texts, tally)
    if not captions:
        tally.dropped["no caption"] += 1
        return
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        tally.dropped["missing"] += 1
    else:
        yield Item("", safe.rpartition(".")[0] or safe, file, {"en": captions}, split=split)


def _entries(content: object, field: str, file: Path, tally: Tally) -> Iterator[dict]:
    entries = content.get(field) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(
            f"expected a list {field!r} in {str(file)!r}, found none; "
            "is this the annotation file of that data set?"
        )
    for entry in entries:
        if isinstance(entry, dict):
            yield entry
        else:
            tally.dropped["malformed entry"] += 1


def _read_text(file: Path, max_bytes: int = MAX_JSON_BYTES) -> str:
    try:
        return read_bytes(file, max_bytes).decode("utf-8-sig")
    except BadImage as error:
        raise DataError(f"expected a readable annotation file, got {error}") from None
    except UnicodeDecodeError:
        raise DataError(f"expected UTF-8 in {str(file)!r}, got other bytes; convert it") from None


def read_json(file: Path, max_bytes: int = MAX_JSON_BYTES) -> object:
    """The content of a JSON file.

    Raises:
        DataError: it is missing, too large, no UTF-8 or no JSON.
    """
    text = _read_text(file, max_bytes)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        cause = " ".join(str(error).split())[:80]
        raise DataError(f"expected JSON in {str(file)!r}, got damage ({cause})") from None
