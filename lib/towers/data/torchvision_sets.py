"""The classification sets of the CLIP paper that torchvision can read, from a local folder.

Source: Radford et al. 2021, Table 9. Left out: video (Kinetics, UCF101), several labels an image
(VOC 2007), a task that is not read as classes (KITTI), and what torchvision does not have
(Birdsnap, Hateful Memes).
"""

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from towers.data.cards import CARDS, Card, Torchvision
from towers.data.errors import DataError
from towers.data.folders import local_path
from towers.data.images import on_white, open_image
from towers.data.items import Item, content_key
from towers.data.prompts import class_names
from towers.data.reports import Tally
from towers.files import cache_home
from towers.progress import tqdm

LAYOUTS = {card.torchvision.dataset: card for card in CARDS.values() if card.torchvision}
"""The cards of the sets that torchvision reads, by its own names."""


def from_torchvision(
    name: str, tally: Tally, parts: tuple[str, ...] | None = None
) -> tuple[list[Item], tuple[str, ...]]:
    """The items of `torchvision:NAME[:ROOT]` and its class names, in the order of its labels.

    Nothing is downloaded. ROOT defaults to `torchvision` in the cache folder; a part that is not
    there is left out, if another is. Every picture is decoded once.

    Args:
        name: NAME or NAME:ROOT; NAME as in torchvision, one of `LAYOUTS`.
        tally: counts what is kept and dropped.
        parts: which of train, val and test to read; None reads all that are there.

    Raises:
        DataError: an unknown name, or no part is there (the message says how to get it).
    """
    kind, _, given = name.partition(":")
    if kind not in LAYOUTS:
        raise DataError(
            f"expected one of {', '.join(LAYOUTS)}; got {kind[:40]!r}; name one of them or use "
            "imagefolder:PATH"
        )
    root = local_path(given) if given else cache_home() / "torchvision"
    items: list[Item] = []
    names: tuple[str, ...] = ()
    for part, dataset in _datasets(kind, root, parts, tally):
        names = _names(LAYOUTS[kind], dataset)
        items += _items(LAYOUTS[kind].torchvision, part, dataset, names, tally)
    tally.refuse_if_bad(f"torchvision:{name}")
    tally.refuse_if_empty(f"torchvision:{name}")
    return items, names


def _datasets(
    kind: str, root: Path, parts: tuple[str, ...] | None, tally: Tally
) -> list[tuple[str | None, object]]:
    import torchvision

    build = getattr(torchvision.datasets, kind)
    accepted = inspect.signature(build.__init__).parameters
    options = {"loader": _load} if "loader" in accepted or kind == "ImageNet" else {}
    layout, read = LAYOUTS[kind].torchvision, []
    for part, value in (layout.parts or {None: None}).items():
        if parts is not None and part is not None and part not in parts:
            continue
        chosen = {layout.keyword: value} if layout.keyword else {}
        try:
            read.append((part, build(root, **chosen, **options)))
        except (OSError, RuntimeError, ImportError, ValueError, EOFError):
            # not there, not whole, or its reader (h5py, scipy) is not installed
            tally.dropped[f"part {part} that is not whole"] += 1
    if not read:
        can = "download" in accepted
        call = f"torchvision.datasets.{kind}({str(root)!r}, download=True)"
        advice = f"get it with {call}" if can else f"put it there as torchvision's {kind} expects"
        raise DataError(f"expected {kind} under {str(root)!r}, found none that is whole; {advice}")
    return read


def _items(
    layout: Torchvision, part: str | None, dataset, names: tuple[str, ...], tally: Tally
) -> Iterator[Item]:
    note = f"reading {layout.dataset} {part or ''}"
    for index in tqdm(range(len(dataset)), note, disable=None):
        try:
            image, label = dataset[index]
            if label is None:  # the test part of FER2013 as some distribute it
                tally.dropped["no label"] += 1
                continue
            picture = on_white(image)
            label = names[int(label) - layout.first]
        except Exception:  # readers of many formats, fed with files that may be damaged
            tally.dropped["damaged"] += 1
            continue
        tally.kept += 1
        content = repr(picture.size).encode() + picture.tobytes()
        yield Item(
            key=content_key(content),
            name=f"{part or 'all'}/{index:07d}",
            image=partial(_picture, dataset, index),
            targets={"class": label},
            split=part,
        )


def _picture(dataset, index: int) -> Image.Image:
    return on_white(dataset[index][0])


def _load(path: str | Path) -> Image.Image:
    return open_image(Path(path))


def _names(card: Card, dataset) -> tuple[str, ...]:
    """Class names as words: the card's, where the set has none or only codes."""
    if card.classes:
        return class_names(card.name)
    known = getattr(dataset, "classes", None) or dataset.categories
    return tuple(" ".join(str(name).replace("_", " ").replace("/", " ").split()) for name in known)
