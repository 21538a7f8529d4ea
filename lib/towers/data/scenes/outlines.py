"""The contours of the shapes, and how far every point of the plane is from them."""

from functools import cache

import numpy as np
from jaxtyping import Float

REACH = 1.4
"""Distances are tabled in [-REACH, REACH] on both axes, in units of a thing's radius."""
GRID = 140
"""Points of the table along each axis: one in 0.02, with linear interpolation between."""
WIDEST = 1.13
"""No contour leaves the circle of this radius."""


def _polar(radii: np.ndarray, start: float = -90.0) -> np.ndarray:
    """Corners around the origin, the first one at `start` degrees (-90: up)."""
    angles = np.radians(start) + np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _arc(radius: float, first: float, last: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Points of a circle's arc, `first` to `last` in degrees, clockwise on the screen."""
    angles = np.radians(np.linspace(first, last, 40))
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def _circle(radius: float) -> np.ndarray:
    return _polar(np.full(64, radius))


def _heart() -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    x = 16 * np.sin(angles) ** 3
    waves = np.cos(np.outer([1, 2, 3, 4], angles))
    return np.stack([x, np.array([-13, 5, 2, 1]) @ waves - 2.5], axis=1) / 16.2


def _moon() -> np.ndarray:
    """A crescent that opens to the right: a disc without another one."""
    outer = _arc(1.05, 52, 308, 0.12)
    tip = outer[-1]
    centre = 0.62
    radius = float(np.hypot(*(tip - (centre, 0))))
    angle = float(np.degrees(np.arctan2(tip[1], tip[0] - centre)))
    return np.concatenate([outer, _arc(radius, angle % 360, 360 - angle % 360, centre)[1:-1]])


def _drop() -> np.ndarray:
    """A round belly below, a tip above."""
    belly = _arc(0.68, -28, 208, 0.0, 0.36)
    return np.concatenate([belly, [[0.0, -1.1]]])


def _flower() -> np.ndarray:
    """Five round petals."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return _polar(0.6 + 0.48 * np.abs(np.cos(2.5 * angles)))


def _cross() -> np.ndarray:
    arm, half = 1.03, 0.34
    quarter = np.array([[half, -arm], [half, -half], [arm, -half]])
    turn = np.array([[0, 1], [-1, 0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, number) for number in range(4)])


def _arrow() -> np.ndarray:
    """It points to the right."""
    upper = np.array([[-1.05, -0.26], [0.05, -0.26], [0.05, -0.8], [1.1, 0.0]])
    return np.concatenate([upper, upper[2::-1] * (1, -1)])


CONTOURS: dict[str, tuple[np.ndarray, ...]] = {
    "circle": (_circle(0.93),),
    "square": (_polar(np.full(4, 1.12), -45),),
    "triangle": (_polar(np.full(3, 1.07)) + np.array([0, 0.1]),),
    "star": (_polar(np.tile([1.12, 0.5], 5)),),
    "heart": (_heart(),),
    "cross": (_cross(),),
    "ring": (_circle(1.0), _circle(0.52)),
    "moon": (_moon(),),
    "diamond": (_polar(np.array([1.12, 0.78, 1.12, 0.78])),),
    "drop": (_drop(),),
    "arrow": (_arrow(),),
    "flower": (_flower(),),
}
"""Closed polygons of each shape, in radii, y down; a second one is a hole."""


@cache
def distances(shape: str) -> Float[np.ndarray, "GRID+1 GRID+1"]:
    """Signed distance to a shape's contour, in radii, negative inside: rows are y, columns x."""
    axis = np.linspace(-REACH, REACH, GRID + 1)
    x, y = (values.ravel() for values in np.meshgrid(axis, axis))
    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, dtype=bool)
    for contour in CONTOURS[shape]:
        for (x0, y0), (x1, y1) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
            dx, dy = x1 - x0, y1 - y0
            along = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)
            along = np.clip(along, 0, 1)
            gap = (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2
            nearest = np.minimum(nearest, gap)
            if y0 != y1:
                crosses = (y0 > y) != (y1 > y)
                inside ^= crosses & (x < x0 + (y - y0) / dy * dx)
    signed = np.where(inside, -np.sqrt(nearest), np.sqrt(nearest))
    return signed.reshape(GRID + 1, GRID + 1)


def sampled(
    shape: str, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """Signed distances at points, in radii; beyond the table, those at its border."""
    table = distances(shape)
    columns, rows = (
        np.clip((values + REACH) / (2 * REACH) * GRID, 0, GRID - 1e-6) for values in (x, y)
    )
    column, row = columns.astype(int), rows.astype(int)
    right, down = columns - column, rows - row
    upper = table[row, column] * (1 - right) + table[row, column + 1] * right
    lower = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
