"""What a classifier may be asked about a scene: labels, classes, and sentences for each class."""

import numpy as np
from jaxtyping import Int

from towers.data.errors import DataError
from towers.data.scenes.drafts import Facts
from towers.data.scenes.english import ENGLISH, NUMBERS
from towers.data.scenes.meanings import Description, Group, Placing
from towers.data.scenes.world import COLOURS, COUNTS, PLACES, SHAPES, SIZES, band

CLASSES: dict[str, tuple[str, ...]] = {
    "count": tuple(NUMBERS[count] for count in COUNTS),
    "shape": SHAPES,
    "colour": COLOURS,
    "size": SIZES,
    "place": PLACES,
    "combination": tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
}
"""Task -> its classes: how many things there are, or what the largest of them is."""


def classes(task: str) -> tuple[str, ...]:
    """The classes of a task, in the order of their numbers.

    Raises:
        DataError: no such task.
    """
    if task not in CLASSES:
        raise DataError(f"expected a task among {', '.join(CLASSES)}; got {task!r}")
    return CLASSES[task]


def labels(found: Facts, task: str) -> Int[np.ndarray, " rows"]:
    """The class number of each scene.

    Raises:
        DataError: no such task.
    """
    classes(task)
    if task == "count":
        return found.count - 1
    shape, colour, large, x, y = (
        column[np.arange(len(column)), found.leads]
        for column in (found.shape, found.colour, found.large, found.x, found.y)
    )
    columns = {
        "shape": shape,
        "colour": colour,
        "size": large.astype(np.int64),
        "place": 3 * band(y) + band(x),
        "combination": len(SHAPES) * colour + shape,
    }
    return columns[task]


def prompts(task: str) -> tuple[tuple[str, ...], ...]:
    """English sentences for each class of a task, as captions would say it.

    Raises:
        DataError: no such task.
    """
    if task == "place":
        meanings = [Placing(((Group(1), place),)) for place in classes(task)]
    else:
        meanings = [Description((group,)) for group in _groups(task)]
    forms = ENGLISH.place if task == "place" else ENGLISH.description
    return tuple(
        tuple(ENGLISH.say(meaning, form) for form in range(len(forms))) for meaning in meanings
    )


def _groups(task: str) -> list[Group]:
    if task == "count":
        return [Group(count) for count in COUNTS]
    if task == "combination":
        return [Group(1, shape, colour) for colour in COLOURS for shape in SHAPES]
    return [Group(1, **{task: name}) for name in classes(task)]
