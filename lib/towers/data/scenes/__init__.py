"""A world of simple things, made by us: for all that must be trained from scratch.

A scene holds one to four things; each has a shape (12), a colour (8), a size (2) and a place.
Captions in seven languages, questions and labels follow from the scene, so that all that is said
is true. Some colours with shapes, some numbers of shapes and some relations of shapes never occur
in training, and have test splits of their own: see `towers.data.scenes.world`. The same scenes in
another style are a natural shift.

A set of scenes is asked for by name, as "scenes:SPLIT?count=2000&size=64&style=outline":

==========  =====================================================================  =============
option      what it is                                                             default
==========  =====================================================================  =============
count       pictures                                                               10000
size        of a picture's sides, in pixels                                        64
style       flat, outline, striped, shaded, cartoon, noisy or mixed                flat
languages   of the captions: en, de, es, fr, it, ja, ru, with commas between       en
families    description, place, relation, count, negation: kinds of captions       all
objects     in each picture                                                        one to four
seed        of everything                                                          0
label       count, shape, colour, size, place or combination: a collection's       shape
            classes
==========  =====================================================================  =============

In the tradition of ShapeWorld (Kuhnle and Copestake 2017) and CLEVR (Johnson et al. 2017).
"""

from towers.data.errors import DataError
from towers.data.items import Collection
from towers.data.scenes.meanings import FAMILIES
from towers.data.scenes.questions import Question
from towers.data.scenes.sets import Scenes
from towers.data.scenes.world import SPLITS, STYLES, Scene, Thing

__all__ = ["FAMILIES", "SPLITS", "STYLES", "Question", "Scene", "Scenes", "Thing", "collection",
           "from_name"]  # fmt: skip

COUNT = 10_000
"""Pictures of a set whose name does not say how many."""
_NUMBERS = ("count", "size", "seed", "objects")
_LISTS = ("languages", "families")
_WORDS = ("style", "label")


def collection(name: str = "") -> Collection:
    """The pictures of `from_name`."""
    return from_name(name).collection()


def from_name(name: str) -> Scenes:
    """The scenes of a name, "scenes:train?count=20000&style=outline".

    Args:
        name: with or without "scenes:", a split and options; none of them: "train".

    Raises:
        DataError: an unknown split or option, or a value that an option cannot have.
    """
    split, _, rest = name.removeprefix("scenes").removeprefix(":").partition("?")
    options: dict = {"count": COUNT, "split": split or "train"}
    seen = set()
    for part in rest.split("&") if rest else ():
        key, equals, text = part.partition("=")
        if not (equals and text) or key not in (*_NUMBERS, *_LISTS, *_WORDS) or key in seen:
            known = ", ".join((*_NUMBERS, *_WORDS, *_LISTS))
            raise DataError(
                f"expected options of scenes among {known}, each once and as NAME=VALUE; got "
                f"{part[:80]!r}"
            )
        seen.add(key)
        if key in _NUMBERS:
            if not (text.isascii() and text.isdigit() and len(text) < 20):
                raise DataError(f"expected a whole number as {key} of scenes; got {text[:80]!r}")
            options[key] = int(text)
        else:
            options[key] = tuple(text.split(",")) if key in _LISTS else text
    return Scenes(**options)
