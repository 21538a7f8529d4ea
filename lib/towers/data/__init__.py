"""Pairs of pictures and words, all in one form, each asked for by one name.

====================  ========================================================================
name                  what it is
====================  ========================================================================
clipart               Open Clip Art: drawings with noisy titles and keywords
clipart:categories    those in folders that say what they show, labelled by them
emoji, emoji:STYLE    emoji in the styles openmoji and noto, names in 14 languages
stamps                Tux Paint's stamps: photos and drawings, captions in dozens of languages
digits                scikit-learn's handwritten digits
samples, samples:SET  twenty labelled pictures each of imagenet, cifar10, ...
scenes:SPLIT?...      a world of simple things, made by us: see towers.data.scenes
folder:PATH, ...      your own data, see towers.data.custom
====================  ========================================================================

A part of a collection is named in brackets, as the collection itself is called: "stamps[test]".
"""

import re
from collections.abc import Callable

from towers.data import bundled, clipart, custom, emoji, scenes, stamps
from towers.data.errors import BadImage, DataError
from towers.data.folders import local_path
from towers.data.items import PARTS, Collection, Item, Report

__all__ = ["EMBEDDED", "BadImage", "Collection", "DataError", "Item", "Report", "load"]

EMBEDDED: dict[str, Callable[..., Collection]] = {
    "clipart": clipart.clipart,
    "emoji": emoji.emoji,
    "stamps": stamps.stamps,
    "digits": bundled.digits,
    "samples": bundled.samples,
    "scenes": lambda rest="": scenes.from_name(rest).collection(),
}
_BRACKETS = re.compile(rf"(.+)\[({'|'.join(PARTS)})\]")


def load(name: str) -> Collection:
    """The collection of a name.

    Args:
        name: as in the table of `towers.data`, whole ("stamps") or a part ("stamps[test]").

    Returns:
        The collection; the first time may take minutes, for its drawings are rendered once.

    Raises:
        DataError: no such collection, or its files cannot be had or read.
    """
    if not isinstance(name, str):
        raise DataError(f"expected the name of one collection, got {name!r}; write it as text")
    if (found := _BRACKETS.fullmatch(name)) and not custom.exists(name):
        return load(found[1]).split(found[2])
    kind, _, rest = name.partition(":")
    if kind in custom.PREFIXES:
        return custom.load(name)
    if kind not in EMBEDDED or (rest and kind in ("stamps", "digits")):
        local_path(name)  # a path of Windows has a colon too, and gets a line of its own
        known = ", ".join([*EMBEDDED, *(f"{prefix}:..." for prefix in custom.PREFIXES)])
        raise DataError(f"expected a collection among {known}; got {name!r}")
    return EMBEDDED[kind](rest) if rest else EMBEDDED[kind]()
