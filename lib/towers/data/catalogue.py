"""Collections that come with the library: read once, kept until their source or code changes.

Reading eight thousand drawings takes minutes, a list of what they say takes milliseconds. A
collection is built by a function that returns drafts; what they became (which can be drawn, which
are near duplicates) is stored as one JSON file.
"""

import inspect
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from towers import files
from towers.data import duplicates, sources, svg, svg_clean
from towers.data.cards import Source
from towers.data.items import Collection, Item, content_key
from towers.data.reports import Report

SIZELESS = "svg: size supplied"
"""How reports name an SVG without a width and height of its own."""


@dataclass
class Found:
    """What a reader gives: drafts, what it dropped, and what it mended.

    Drafts are items without a key, whose picture is a path relative to the source's folder.
    """

    drafts: list[Item]
    dropped: Counter
    mended: Counter = field(default_factory=Counter)


def collection(
    name: str,
    source: Source,
    read: Callable[[Path], Found],
    names: str = "",
    image: Callable[[Path], object] | None = None,
    distance: int | None = duplicates.DISTANCE,
    one_of_a_kind: bool = False,
    trim: bool = False,
) -> Collection:
    """A collection of a source's files, from the cache or read now.

    Args:
        name: of the collection.
        source: of the files.
        read: gives the drafts.
        names: version of what names them, where that is not the source.
        image: path -> source for `Item.image`; SVGs are rasterised, other files opened if None.
        distance: within which pictures are near duplicates; None looks for none.
        one_of_a_kind: keep only the first of each group of near duplicates.
        trim: show SVGs without the empty rim of their pages.

    Returns:
        The items whose pictures can be drawn, near duplicates sharing a group; the report's
        `mended` counts the SVGs among them that give no size of their own.
    """
    folder, image = sources.fetch(source.name), image or partial(_image, trim=trim)
    version = ", ".join(
        filter(None, (source.version, names, svg.RENDERER, "trimmed" if trim else ""))
    )
    key = files.sha256(f"{name} {source.sha256} {version} {_text(read)} {distance}".encode())
    kept = files.cached(
        f"collections/{name.replace(':', '-')}-{key[:16]}.json",
        lambda: _catalogue(name, folder, read(folder), image, distance, one_of_a_kind, trim),
        lambda made: json.dumps(made).encode(),
        json.loads,
    )
    items = tuple(_item(row, folder, image) for row in kept["items"])
    report = Report(len(items), kept["dropped"], kept["mended"])
    return Collection(
        name=name, items=items, report=report, licence=source.licence, version=version
    )


def _text(read: Callable[[Path], Found]) -> str:
    """SHA-256 over the modules that make a catalogue: a changed rule is never answered from one
    that was made by another."""
    modules = (inspect.getsourcefile(read), __file__, duplicates.__file__, svg_clean.__file__)
    return files.sha256("".join(files.sha256(Path(module)) for module in modules).encode())


def _image(path: Path, trim: bool):
    return svg.Raster(path, trim=trim) if path.suffix == ".svg" else path


def _catalogue(
    name: str,
    folder: Path,
    found: Found,
    source: Callable[[Path], object],
    distance: int | None,
    one_of_a_kind: bool,
    trim: bool,
) -> dict:
    """Draw everything once, drop what cannot be drawn and exact copies, group what looks alike."""
    paths = [folder / draft.image for draft in found.drafts]
    drawn = [path for path in paths if isinstance(source(path), svg.Raster)]
    reasons = dict(zip(drawn, svg.prepare(drawn, label=f"drawing {name}", trim=trim), strict=True))
    dropped, seen, rows = Counter(found.dropped), set(), []
    for draft, path in zip(found.drafts, paths, strict=True):
        original = source(path)
        content = original.read_bytes() if isinstance(original, Path) else original.content()
        key = content_key(content)
        if reason := reasons.get(path):
            dropped[f"svg: {reason}"] += 1
        elif key in seen:
            dropped["copy of another file"] += 1
        else:
            seen.add(key)
            rows.append(_row(draft, key))
    items = tuple(_item(row, folder, source) for row in rows)
    if distance is not None:
        whole = Collection(name, items, Report(len(items)))
        for row, group in zip(rows, duplicates.groups(whole, distance), strict=True):
            row["group"] = row["group"] or group
    if one_of_a_kind:
        first = [row for row in rows if row["group"] in (None, row["key"])]
        dropped["near duplicate"] += len(rows) - len(first)
        rows = first
    paths = {folder / row["image"] for row in rows}
    sizeless = sum(not svg_clean.clean(path.read_bytes()).sized for path in paths & {*drawn})
    mended = Counter(found.mended) + Counter({SIZELESS: sizeless})
    return {"items": rows, "dropped": dict(dropped), "mended": dict(mended)}


def _row(draft: Item, key: str) -> dict:
    """A draft as JSON has it."""
    plain = {field: getattr(draft, field) for field in ("name", "category", "style", "group")}
    said = {"captions": dict(draft.captions), "targets": dict(draft.targets)}
    return {"key": key, "image": str(draft.image), **plain, **said}


def _item(row: dict, folder: Path, source) -> Item:
    return Item(**{**row, "image": source(folder / row["image"])})
