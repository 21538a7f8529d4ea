"""What a scene is made of, what is true of it, and what no training scene ever holds.

Places are fractions of the picture's side, x to the right and y down. A layout never comes near a
border line of `place` or `relation` (`GREY` is kept free on both sides), so that every word about a
place is plainly true or plainly false.
"""

from dataclasses import dataclass
from functools import cached_property

SHAPES = (
    "circle", "square", "triangle", "star", "heart", "cross",
    "ring", "moon", "diamond", "drop", "arrow", "flower",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SIZES = ("small", "large")
COUNTS = (1, 2, 3, 4)
RELATIONS = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
PLACES = (
    "top left", "top", "top right",
    "left", "middle", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
STYLES = ("flat", "outline", "striped", "shaded", "cartoon", "noisy")
SPLITS = ("train", "val", "test", "combinations", "counts", "relations")

EDGES = (0.4, 0.6)
"""Where the left, middle and right thirds of a picture meet, and so its top and bottom."""
APART = 0.15
"""From this distance along an axis one thing is left of, or above, another."""
GREY = 0.02
"""How far layouts keep from `EDGES` and from distances of `APART`."""

RADII = (0.088, 0.112, 0.142, 0.182)
"""Half the extent of a thing: small, leading small, large, leading large. In each scene one thing
leads: no other is as large, and its radius is at least 1.25 times that of any other."""

HELD_COMBINATIONS = frozenset(
    (COLOURS[(5 * number + 2) % len(COLOURS)], shape) for number, shape in enumerate(SHAPES)
)
"""Colours with shapes outside of training: one colour for each shape."""
HELD_COUNTS = frozenset((2 + number % 3, shape) for number, shape in enumerate(SHAPES))
"""Numbers with shapes outside of training: exactly so many of a shape in one picture, or exactly so
many that also share a colour, a size or both."""
HELD_RELATIONS = frozenset(
    (shape, relation, SHAPES[(number + step) % len(SHAPES)])
    for relation, step in (("left", 5), ("above", 7))
    for number, shape in enumerate(SHAPES)
)
"""Shapes in a relation outside of training; its mirror image ("right", "below") is meant too."""


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        shape: of `SHAPES`.
        colour: of `COLOURS`.
        size: of `SIZES`.
        x: of its centre, from the left, as a fraction of the side.
        y: of its centre, from the top.
        radius: half its extent, as a fraction of the side.
        tilt: turned clockwise by so many degrees.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    tilt: float

    @property
    def combination(self) -> tuple[str, str]:
        """Colour and shape."""
        return self.colour, self.shape

    @property
    def place(self) -> str:
        """The ninth of the picture that its centre lies in, of `PLACES`."""
        return PLACES[3 * band(self.y) + band(self.x)]

    def is_(self, relation: str, other: "Thing") -> bool:
        """Whether it stands in a relation ("left": left of) to another thing."""
        first, second = (self, other) if relation in ("left", "above") else (other, self)
        if relation in ("left", "right"):
            return second.x - first.x >= APART
        return second.y - first.y >= APART


@dataclass(frozen=True)
class Scene:
    """The objects of a picture, from left to right."""

    objects: tuple[Thing, ...]

    @cached_property
    def largest(self) -> Thing:
        """The one with the greatest radius; always at least 1.25 times the next."""
        return max(self.objects, key=lambda thing: thing.radius)

    def number(
        self, shape: str | None = None, colour: str | None = None, size: str | None = None
    ) -> int:
        """How many objects have a shape, a colour and a size; None: any."""
        return sum(
            shape in (None, thing.shape)
            and colour in (None, thing.colour)
            and size in (None, thing.size)
            for thing in self.objects
        )


def band(position: float) -> int:
    """0, 1 or 2 for the first, middle or last part of an axis."""
    return 1 * (position >= EDGES[0]) + (position >= EDGES[1])
