"""A user's own data, and the papers' data sets from local files, as collections.

=======================  ===========================================================================
name                     what lies there
=======================  ===========================================================================
folder:PATH              images with a .txt each (same name, a caption a line), or captions.csv
imagefolder:PATH         PATH/class/image, or PATH/{train,val,test}/class/image
shards:PATTERN           WebDataset tars, as "data/{000..127}.tar"
coco:PATH                MS-COCO's images and annotations/, or Karpathy's dataset_coco.json
flickr30k:PATH           Flickr30k's images and dataset_flickr30k.json or results_20130124.token
torchvision:NAME[:ROOT]  a set in the form that torchvision leaves it
=======================  ===========================================================================

Every image is decoded once when a set is loaded. What is damaged or hostile is left out and
counted in the collection's report; a set with too much of it is refused.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from towers.data.annotations import coco, flickr30k
from towers.data.errors import DataError
from towers.data.folders import by_class, captioned
from towers.data.intake import Tally, admit
from towers.data.items import PARTS, Collection, Item
from towers.data.prompts import class_names
from towers.data.shards import from_shards
from towers.data.torchvision_sets import from_torchvision

_FILES: dict[str, Callable[[str, Tally], Iterator[Item]]] = {
    "folder": captioned,
    "imagefolder": by_class,
    "coco": coco,
    "flickr30k": flickr30k,
}
PREFIXES = (*_FILES, "shards", "torchvision")
"""What may stand before the colon."""

_WORDNET_ID = re.compile(r"n\d{8}")


def load(
    name: str,
    parts: tuple[str, ...] | None = None,
    max_bad: float = 0.05,
) -> Collection:
    """Load a set of local files in one of the layouts above.

    Args:
        name: prefix, colon, and a path, a pattern or a name: "folder:~/pictures".
        parts: load only these of "train", "val" and "test", where the set's own files say which
            item belongs where; None loads all.
        max_bad: share of bad files, in [0, 1], above which the set is refused (ten are always
            forgiven).

    Returns:
        A collection; its report counts what was left out and why.

    Raises:
        DataError: an unknown prefix, nothing there, too much that is bad, or no such parts.
    """
    prefix, colon, rest = name.partition(":")
    if prefix not in PREFIXES or not colon or not rest:
        raise DataError(
            f"expected one of {', '.join(f'{known}:...' for known in PREFIXES)}; got "
            f"{name[:80]!r}; put one of these before your path"
        )
    if parts is not None and not (parts and set(parts) <= set(PARTS)):
        raise DataError(f"expected parts among train, val and test, got {parts!r}; name some")
    tally, names = Tally(max_bad), None
    if prefix == "torchvision":
        items, names = from_torchvision(rest, tally, parts)
    elif prefix == "shards":
        items = list(from_shards(rest, tally))
    else:
        items = admit(_chosen(_FILES[prefix](rest, tally), parts), tally, name)
    if parts is not None and any(item.split is None for item in items):
        raise DataError(
            f"expected a set that names its own parts, got {name!r}; use .split instead"
        )
    if names is None:
        items, names = _named(items)
    return Collection(name, tuple(items), tally.report(), class_names=names)


def _chosen(drafts: Iterator[Item], parts: tuple[str, ...] | None) -> Iterator[Item]:
    return (draft for draft in drafts if parts is None or draft.split in (None, *parts))


def _named(items: list[Item]) -> tuple[list[Item], tuple[str, ...] | None]:
    """Class numbers in numeric order; ImageNet's 1,000 folders under their English names."""
    labels = sorted({item.label for item in items if item.label is not None})
    if labels and all(label.isdecimal() for label in labels):
        return items, tuple(sorted(labels, key=int))
    if len(labels) == 1000 and all(_WORDNET_ID.fullmatch(label) for label in labels):
        names = dict(zip(labels, class_names("imagenet"), strict=True))
        return [replace(item, label=names[item.label]) for item in items], tuple(names.values())
    return items, None
