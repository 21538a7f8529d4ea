"""Scenes drawn by lot, many rows at once, until each is what its split allows."""

from collections.abc import Iterable
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from towers.data import chance
from towers.data.scenes import layouts
from towers.data.scenes.world import (
    APART,
    COLOURS,
    COUNTS,
    HELD_COMBINATIONS,
    HELD_COUNTS,
    HELD_RELATIONS,
    RADII,
    SHAPES,
    SIZES,
    Scene,
    Thing,
)

MOST = max(COUNTS)
COUNT_WEIGHTS = (0.15, 0.3, 0.3, 0.25)
"""Share of scenes with one to four things."""
TILTS = (-12.0, -6.0, 0.0, 6.0, 12.0)
"""Degrees, clockwise."""
SAME, SAME_SHAPE, SAME_COLOUR = 0.2, 0.4, 0.55
"""Below these: a thing takes the last one's colour and shape, its shape, or its colour."""
HELD = ("combinations", "counts", "relations")
_ATTEMPTS = 100_000


class Facts(NamedTuple):
    """Scenes in columns; things beyond a scene's count mean nothing.

    Attributes:
        count: things in each scene, 1 to 4.
        shape: index into `SHAPES`.
        colour: index into `COLOURS`.
        large: whether a thing's size is "large".
        leads: which thing is the largest.
        tilt: index into `TILTS`.
        x: of the centres, fractions of the side.
        y: of the centres.
    """

    count: Int[np.ndarray, " rows"]
    shape: Int[np.ndarray, "rows 4"]
    colour: Int[np.ndarray, "rows 4"]
    large: Bool[np.ndarray, "rows 4"]
    leads: Int[np.ndarray, " rows"]
    tilt: Int[np.ndarray, "rows 4"]
    x: Float[np.ndarray, "rows 4"]
    y: Float[np.ndarray, "rows 4"]

    @property
    def present(self) -> Bool[np.ndarray, "rows 4"]:
        """Which of the four things are there."""
        return np.arange(MOST) < self.count[:, None]

    @property
    def radius(self) -> Int[np.ndarray, "rows 4"]:
        """Index into `RADII`."""
        return 2 * self.large + (np.arange(MOST) == self.leads[:, None])

    def scenes(self) -> list[Scene]:
        """Every row as objects, from left to right."""
        columns = (self.shape, self.colour, self.large, self.x, self.y, self.radius, self.tilt)
        rows = zip(self.count.tolist(), *(column.tolist() for column in columns), strict=True)
        return [_scene(count, zip(*values, strict=True)) for count, *values in rows]


def facts(key: int, rows: Int[np.ndarray, " rows"], split: str, objects: int | None) -> Facts:
    """The scenes of some rows: drafts, redrawn until `allowed` in the split.

    The number of things is settled before, so that what is held out does not change its shares.

    Args:
        key: from `chance.secret`.
        rows: of the scenes.
        split: of `world.SPLITS`.
        objects: things in every scene; None: one to four.
    """
    count = _counts(chance.bits(key, rows, 1, attempt=-1 % 2**63)[:, 0], split, objects)
    found = draft(key, rows, count, 0)
    (pending,) = np.nonzero(~allowed(found, split))
    for attempt in range(1, _ATTEMPTS):
        if not len(pending):
            return found
        again = draft(key, rows[pending], count[pending], attempt)
        good = allowed(again, split)
        for column, values in zip(found, again, strict=True):
            column[pending[good]] = values[good]
        pending = pending[~good]
    raise AssertionError(f"no scene of split {split} in {_ATTEMPTS} drafts")


def draft(
    key: int, rows: Int[np.ndarray, " rows"], count: Int[np.ndarray, " rows"], attempt: int
) -> Facts:
    """Scenes of given numbers of things, whatever a split may say.

    Args:
        key: as in `facts`.
        rows: of the scenes.
        count: things in each.
        attempt: another one gives other scenes.
    """
    numbers = chance.bits(key, rows, 3 + 5 * MOST, attempt)
    kinds = numbers[:, 3:].reshape(len(rows), 5, MOST)
    x, y = _placed(numbers[:, 0], numbers[:, 1], count)
    leads = (chance.fractions(numbers[:, 2]) * count).astype(np.int64)
    shape = chance.below(kinds[:, 0], len(SHAPES))
    colour = chance.below(kinds[:, 1], len(COLOURS))
    likeness = chance.fractions(kinds[:, 2])
    for thing in range(1, MOST):
        like = likeness[:, thing]
        shape[:, thing] = np.where(like < SAME_SHAPE, shape[:, thing - 1], shape[:, thing])
        alike = (like < SAME) | ((like >= SAME_SHAPE) & (like < SAME_COLOUR))
        colour[:, thing] = np.where(alike, colour[:, thing - 1], colour[:, thing])
    large = kinds[:, 3] >> np.uint64(63) > 0
    rows_of = np.arange(len(rows))
    large[rows_of, leads] |= (large & (np.arange(MOST) < count[:, None])).any(axis=1)
    return Facts(count, shape, colour, large, leads, chance.below(kinds[:, 4], len(TILTS)), x, y)


def allowed(found: Facts, split: str) -> Bool[np.ndarray, " rows"]:
    """Which scenes a split admits: nothing held out, or what the split is for and no other."""
    wanted = np.array([name == split for name in HELD])
    return (held(found) == wanted).all(axis=1)


def held(found: Facts) -> Bool[np.ndarray, "rows 3"]:
    """Whether scenes hold something of each kind in `HELD`."""
    combinations, counts, relations = _tables()
    present = found.present
    both = present[:, :, None] & present[:, None, :]
    pairs = relations[:, found.shape[:, :, None], found.shape[:, None, :]]
    near = [(c[:, None, :] - c[:, :, None] >= APART) & both for c in (found.x, found.y)]
    shape, colour, size = (
        column[:, :, None] == column[:, None, :]
        for column in (found.shape, found.colour, found.large)
    )
    like = both & shape
    kinds = (like, like & colour, like & size, like & colour & size)
    numbers = [kind.sum(axis=2) for kind in kinds]
    return np.stack(
        [
            (combinations[found.colour, found.shape] & present).any(axis=1),
            (np.any([counts[n, found.shape] for n in numbers], axis=0) & present).any(axis=1),
            ((pairs[0] & near[0]) | (pairs[1] & near[1])).any(axis=(1, 2)),
        ],
        axis=1,
    )


def _scene(count: int, values: Iterable[tuple]) -> Scene:
    things = [
        Thing(SHAPES[shape], COLOURS[colour], SIZES[large], x, y, RADII[radius], TILTS[tilt])
        for shape, colour, large, x, y, radius, tilt in islice(values, count)
    ]
    return Scene(tuple(sorted(things, key=attrgetter("x", "y"))))


def _counts(numbers: np.ndarray, split: str, objects: int | None) -> Int[np.ndarray, " rows"]:
    """Things in each scene; at least two where there must be several."""
    if objects is not None:
        return np.full(len(numbers), objects)
    weights = np.array(COUNT_WEIGHTS)
    if split in ("counts", "relations"):
        weights[0] = 0
    ends = np.cumsum(weights / weights.sum())[:-1]
    return 1 + np.searchsorted(ends, chance.fractions(numbers), side="right")


def _placed(
    numbers: np.ndarray, ways: np.ndarray, count: np.ndarray
) -> tuple[Float[np.ndarray, "rows 4"], Float[np.ndarray, "rows 4"]]:
    points = np.full((len(numbers), MOST, 2), 0.5)
    for things in np.unique(count):
        (mine,) = np.nonzero(count == things)
        bank = layouts.bank(int(things))
        chosen = bank[chance.below(numbers[mine], len(bank))]
        points[mine, :things] = layouts.turned(chosen, chance.below(ways[mine], 8))
    return points[..., 0], points[..., 1]


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is held out, as look-up tables of indices."""
    combinations = np.zeros((len(COLOURS), len(SHAPES)), dtype=bool)
    counts = np.zeros((MOST + 1, len(SHAPES)), dtype=bool)
    relations = np.zeros((2, len(SHAPES), len(SHAPES)), dtype=bool)
    for colour, shape in HELD_COMBINATIONS:
        combinations[COLOURS.index(colour), SHAPES.index(shape)] = True
    for number, shape in HELD_COUNTS:
        counts[number, SHAPES.index(shape)] = True
    for first, relation, second in HELD_RELATIONS:
        axis = ("left", "above").index(relation)
        relations[axis, SHAPES.index(first), SHAPES.index(second)] = True
    return combinations, counts, relations
