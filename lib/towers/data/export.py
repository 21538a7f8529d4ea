"""Any collection as WebDataset shards: tar files that this and other libraries read.

Of each item a shard holds the picture, its captions and targets as JSON and, where English is the
only language, the captions also as text, one a line. A picture that is a file goes as it is, with
all that the file says of itself; what is drawn goes as a PNG. `shards:FOLDER/*.tar` reads them
again.
"""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

from towers.data.errors import BadImage, DataError
from towers.data.images import image_type, read_bytes
from towers.data.items import Collection, Item
from towers.files import atomic_write, locked, sha256
from towers.progress import tqdm

INDEX = "index.json"
"""Beside the shards: what they hold, and their checksums."""


def export_shards(collection: Collection, folder: Path, per_shard: int = 1000) -> dict:
    """Write a collection as shards, each whole or not at all; a second call goes on where it was.

    Equal collections make equal bytes. A shard that the index lists, and whose content still has
    its checksum, is kept; all others are made. Items that no reader would take, because their
    picture is damaged or nothing is said about it, are left out and counted.

    Args:
        collection: of any kind.
        folder: made if it is missing; holds nothing but this export.
        per_shard: items of a shard; one shard at a time is in memory.

    Returns:
        The index, as in the folder's index.json: "collection", "digest", "per_shard", "samples",
        "left_out" (reason -> items) and "shards", a list with "file", "items", "samples", "bytes",
        "sha256" and "left_out".

    Raises:
        DataError: `per_shard` is not positive, or the folder holds another export or other shards.
        OSError: the disk is full or fails; what the index lists is then still good.
    """
    if per_shard < 1:
        raise DataError(f"expected at least 1 picture per shard, got {per_shard}")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".export"):
        index = _index(collection, folder, per_shard)
        atomic_write(folder / INDEX, _text(index))
        listed = {shard["file"]: shard for shard in index["shards"]}
        index["shards"] = []
        starts = range(0, len(collection), per_shard)
        with tqdm(total=len(collection), desc="shards", unit="pictures", disable=None) as bar:
            for number, start in enumerate(starts):
                name = f"{number:06d}.tar"
                part = range(start, min(start + per_shard, len(collection)))
                shard = listed.pop(name, None)
                if shard is None or not _good(folder / name, shard):
                    shard = _write(collection, part, folder / name)
                index["shards"].append(shard)
                _count(index)
                rest = [*index["shards"], *listed.values()]  # of an earlier run, not looked at yet
                atomic_write(folder / INDEX, _text({**index, "shards": rest}))
                bar.update(len(part))
    return index


def _index(collection: Collection, folder: Path, per_shard: int) -> dict:
    """The index of a folder's earlier run, or an empty one."""
    about = {"collection": collection.name, "digest": collection.digest, "per_shard": per_shard}
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        shards = [dict(shard) for shard in index["shards"] if isinstance(shard["file"], str)]
        given = {name: index[name] for name in about}
    except FileNotFoundError:
        if any(folder.glob("*.tar")):
            raise DataError(
                f"expected no shards without {INDEX} in {folder}; export to an empty folder"
            ) from None
        given, shards = about, []
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"expected the index of an export in {folder / INDEX}, got something else; export to "
            "an empty folder"
        ) from None
    if given != about:
        raise DataError(
            f"expected {folder} to be empty or of {about['collection']} with {per_shard} per "
            f"shard, got {given['collection']} with {given['per_shard']}; export elsewhere"
        )
    return {**about, "samples": 0, "left_out": {}, "shards": shards}


def _good(path: Path, shard: dict) -> bool:
    """Whether a shard lies where the index says, as it says."""
    try:
        return path.stat().st_size == shard["bytes"] and sha256(path) == shard["sha256"]
    except (OSError, KeyError):
        return False


def _write(collection: Collection, rows: range, path: Path) -> dict:
    buffer, left_out = io.BytesIO(), Counter()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            try:
                members = _members(collection, row)
            except BadImage as error:
                left_out[error.reason] += 1
                continue
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{row:09d}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    content = buffer.getvalue()
    atomic_write(path, content)
    return {
        "file": path.name,
        "items": len(rows),
        "samples": len(rows) - left_out.total(),
        "bytes": len(content),
        "sha256": sha256(content),
        "left_out": dict(left_out),
    }


def _members(collection: Collection, row: int) -> dict[str, bytes]:
    """Ending -> content of the members of a sample; BadImage says why there is none."""
    item: Item = collection[row]
    if not item.captions and not item.targets:
        raise BadImage("no caption")
    ending, picture = _picture(collection, row)
    about = {
        "name": item.name,
        "key": item.key,
        "captions": {language: list(texts) for language, texts in item.captions.items()},
        "targets": dict(item.targets),
        "category": item.category,
        "style": item.style,
    }
    members = {ending: picture, "json": _text(about).encode()}
    if set(item.captions) == {"en"}:
        members["txt"] = "\n".join(item.captions["en"]).encode()
    return members


def _picture(collection: Collection, row: int) -> tuple[str, bytes]:
    """The ending and content of a picture's file; BadImage if it cannot be decoded."""
    picture, source = collection.image(row), collection[row].image
    if not callable(source):
        content = source if isinstance(source, bytes) else read_bytes(source)
        return image_type(content).lower().replace("jpeg", "jpg"), content
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "png", buffer.getvalue()


def _count(index: dict) -> None:
    index["samples"] = sum(shard["samples"] for shard in index["shards"])
    left_out = sum((Counter(shard["left_out"]) for shard in index["shards"]), Counter())
    index["left_out"] = dict(left_out)


def _text(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
