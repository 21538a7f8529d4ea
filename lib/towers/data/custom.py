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

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from towers import names
from towers.data.annotations import coco, flickr30k
from towers.data.errors import DataError
from towers.data.folders import by_class, captioned, local_path
from towers.data.intake import admit
from towers.data.items import PARTS, Collection, Item
from towers.data.prompts import class_names, wordnet_names
from towers.data.reports import MAX_BAD, Tally
from towers.data.shards import from_shards
from towers.data.torchvision_sets import from_torchvision

_CAPTIONED: dict[str, Callable[[str, Tally], Iterator[Item]]] = {
    "folder": captioned,
    "coco": coco,
    "flickr30k": flickr30k,
}
PREFIXES = ("folder", "imagefolder", "coco", "flickr30k", "shards", "torchvision")
"""What may stand before the colon."""

_WORDNET_ID = re.compile(r"n\d{8}")


def load(
    name: str,
    parts: tuple[str, ...] | None = None,
    *,
    max_bad: Annotated[float, names.Range(0, 1)] = MAX_BAD,
) -> Collection:
    """Load a set of local files in one of the layouts above.

    One line on standard error says what was left out and why, as the report counts it.

    Args:
        name: prefix, colon, and a path, a pattern or a name: "folder:~/pictures". At its end
            "?max_bad=0.2" sets `max_bad`, wherever names are given.
        parts: load only these of "train", "val" and "test", where the set's own files say which
            item belongs where; None loads all.
        max_bad: share of bad files, in [0, 1], above which the set is refused (nine are always
            forgiven).

    Returns:
        A collection; its report counts what was left out and why. Its classes are all that the
        set names, in numeric order where they are numbers; WordNet ids come under English names.

    Raises:
        DataError: an unknown prefix, nothing there, too much that is bad, no such parts, or class
            names that are ambiguous.
    """
    try:
        split = names.parse(name, pattern=True)
        options = {"max_bad": max_bad, **names.options(load, split)}
    except ValueError as error:
        raise DataError(str(error)) from None
    prefix, rest = split.scheme, split.place
    if prefix not in PREFIXES or not rest:
        raise DataError(
            f"expected one of {', '.join(f'{known}:...' for known in PREFIXES)}; got "
            f"{name[:80]!r}; put one of these before your path"
        )
    if parts is not None and not (parts and set(parts) <= set(PARTS)):
        raise DataError(f"expected parts among train, val and test, got {parts!r}; name some")
    tally = Tally(**options)
    items, classes = _read(prefix, rest, name, tally, parts)
    if parts is not None and any(item.split is None for item in items):
        raise DataError(
            f"expected a set that names its own parts, got {name!r}; use .split instead"
        )
    items, classes = _in_english(items, classes or _labels(items), name)
    report = tally.report()
    report.say(name)
    return Collection(name, tuple(items), report, class_names=classes)


def exists(name: str) -> bool:
    """Whether what follows the prefix of a name is a path that is there, whatever signs it has."""
    path = name.partition(":")[2]
    return bool(path) and os.path.exists(local_path(path))


def _read(
    prefix: str, rest: str, name: str, tally: Tally, parts: tuple[str, ...] | None
) -> tuple[list[Item], Sequence[str]]:
    """Items, and the classes that the set names, if it does."""
    if prefix == "torchvision":
        return from_torchvision(rest, tally, parts)
    if prefix == "shards":
        return from_shards(rest, tally)
    if prefix == "imagefolder":
        drafts, classes = by_class(rest, tally)
    else:
        drafts, classes = list(_CAPTIONED[prefix](rest, tally)), ()
    classes = classes or _labels(drafts)  # of all parts, and of pictures that are damaged
    chosen = [draft for draft in drafts if parts is None or draft.split in (None, *parts)]
    return admit(chosen, tally, name), classes


def _labels(items: Sequence[Item]) -> tuple[str, ...]:
    return tuple(sorted({item.targets["class"] for item in items if "class" in item.targets}))


def _in_english(
    items: list[Item], classes: Sequence[str], name: str
) -> tuple[list[Item], tuple[str, ...] | None]:
    """Classes in their order: numbers by size, WordNet ids under their English names.

    The numbers 0 to 999 are ImageNet's classes, as in the folders of ImageNetV2.
    """
    classes = tuple(classes)
    if repeated := [label for label, count in Counter(classes).items() if count > 1]:
        raise DataError(
            f"expected different class names in {name}, got {repeated[0]!r} more than once; "
            "tell them apart"
        )
    if classes and all(label.isdecimal() for label in classes):
        classes = tuple(sorted(classes, key=int))
        if [int(label) for label in classes] != list(range(1000)):
            return items, classes
        english = class_names("imagenet")
    elif any(_WORDNET_ID.fullmatch(label) for label in classes):
        english = wordnet_names(classes)
    else:
        return items, classes or None
    name_of = dict(zip(classes, english, strict=True))
    called = [name_of.get(item.targets.get("class")) for item in items]
    return [
        replace(item, targets={**item.targets, "class": label})
        for item, label in zip(items, called, strict=True)
    ], english
