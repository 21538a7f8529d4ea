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
What is known about a collection, and which function reads it, stands on its card: see
`towers.data.cards`.
"""

import inspect
import pkgutil
import re

from towers.data import custom
from towers.data.cards import CARDS
from towers.data.errors import BadImage, DataError
from towers.data.folders import local_path
from towers.data.items import PARTS, Collection, Item
from towers.data.reports import Report

__all__ = ["EMBEDDED", "BadImage", "Collection", "DataError", "Item", "Report", "load"]

EMBEDDED = {name: card.reader for name, card in CARDS.items() if card.reader}
"""The collections that come with the library, and their readers."""
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
    read = pkgutil.resolve_name(f"{__name__}.{EMBEDDED[kind]}") if kind in EMBEDDED else None
    if read is None or (rest and not inspect.signature(read).parameters):
        local_path(name)  # a path of Windows has a colon too, and gets a line of its own
        known = ", ".join([*EMBEDDED, *(f"{prefix}:..." for prefix in custom.PREFIXES)])
        raise DataError(f"expected a collection among {known}; got {name!r}")
    return read(rest) if rest else read()
