"""Where one to four things stand: fixed banks of layouts without overlap or doubt.

Any two centres are far enough apart for the two largest things that one scene can hold, and no
centre or distance lies near a border line of the words for places and relations.
"""

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from towers.data import chance
from towers.data.scenes.world import APART, EDGES, GREY

BANK = 2048
"""Layouts for each number of things; each also mirrored and turned, in eight ways."""
LOW, HIGH = 0.21, 0.79
"""Centres lie between: the widest thing (1.13 times its radius) then stays inside."""
NEAREST = 0.385
"""Least distance of two centres: 1.13 x (0.182 + 0.142) and a pixel between them at 64."""
_DARTS = 8192


@cache
def bank(things: int) -> Float[np.ndarray, "layouts things 2"]:
    """The layouts of so many things, in [0, 1]: darts thrown one after another, misses dropped."""
    kept = np.zeros((_DARTS, 0, 2))
    for number in range(things):
        rounds = []
        for throw in range(8 * (number + 1)):
            key = chance.secret("layout", things, number, throw)
            darts = chance.fractions(chance.bits(key, np.arange(_DARTS), 2))
            points = np.concatenate(
                [kept[np.arange(_DARTS) % len(kept)], LOW + (HIGH - LOW) * darts[:, None]], axis=1
            )
            rounds.append(points[clear(points)])
        kept = np.concatenate(rounds)[:_DARTS]
    order = np.argsort(chance.bits(chance.secret("order", things), np.arange(len(kept)), 1)[:, 0])
    return kept[order[:BANK]]


def clear(points: Float[np.ndarray, "layouts things 2"]) -> Bool[np.ndarray, " layouts"]:
    """Whether the last thing of each layout stands clear of the lines and of the others."""
    last, others = points[:, -1], points[:, :-1]
    gaps = np.abs(others - last[:, None])
    plain = (np.abs(last[:, :, None] - np.array(EDGES)) > GREY).all(axis=(1, 2))
    plain &= (np.abs(gaps - APART) > GREY).all(axis=(1, 2))
    return plain & (np.hypot(gaps[..., 0], gaps[..., 1]) > NEAREST).all(axis=1)


def turned(
    points: Float[np.ndarray, "rows things 2"], ways: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, "rows things 2"]:
    """Layouts mirrored and turned in one of eight ways; 0 leaves them as they are."""
    swapped = np.where((ways & 1)[:, None, None], points[..., ::-1], points)
    flips = np.stack([ways & 2, ways & 4], axis=1)[:, None] > 0
    return np.where(flips, 1 - swapped, swapped)
