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

from towers import names
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
    try:
        parts = names.parse(name)
        options = names.options(_options, parts)
    except ValueError as error:
        raise DataError(str(error)) from None
    split = parts.place if parts.scheme else parts.place.removeprefix("scenes")
    return Scenes(**{"count": COUNT, "split": split or "train", **options})


def _options(
    *, count: int = 0, size: int = 0, seed: int = 0, objects: int = 0, style: str = "",
    label: str = "", languages: tuple[str, ...] = (), families: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """What a name can say; `Scenes` knows what each can be."""
