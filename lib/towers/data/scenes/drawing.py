"""Scenes as pixels: stamps of every thing, made once, laid on many canvases at a time.

A stamp is a thing of one shape, radius and tilt as four weights per pixel, for what lies behind,
its own colour, white and black. Its edge is smooth: a pixel's cover follows from the signed
distance of its centre to the contour. Laying stamps on a batch is then three multiplications per
pixel under them.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8, UInt16, UInt64
from numpy.lib.stride_tricks import sliding_window_view

from towers.data import chance
from towers.data.scenes.drafts import MOST, TILTS, Facts
from towers.data.scenes.outlines import WIDEST, sampled
from towers.data.scenes.world import COLOURS, RADII, SHAPES

PALETTE = {
    "red": (214, 32, 38),
    "orange": (245, 136, 20),
    "yellow": (250, 220, 50),
    "green": (26, 152, 72),
    "blue": (30, 100, 215),
    "purple": (120, 40, 150),
    "pink": (250, 150, 200),
    "black": (30, 30, 34),
}
"""Red, green and blue of each colour, 0 to 255."""
JITTER = 12
"""Each channel of a thing's colour moves by at most so much."""
PAPER = (238, 16)
"""Mean of a background's channels and how far a channel may lie from it."""
CHUNK = 128
"""Rows drawn at a time, few enough for their canvases to stay in the processor's cache."""
_ONE = 256  # the weights of a pixel add up to it


class Stamps(NamedTuple):
    """All things in one style at one picture size.

    Attributes:
        behind: weight of the background, by shape, radius and tilt; 256 is all of it.
        own: weight of the thing's colour.
        light: what white adds, up to 255 x 256; black adds nothing.
    """

    behind: UInt16[np.ndarray, "stamps side side 1"]
    own: UInt16[np.ndarray, "stamps side side 1"]
    light: UInt16[np.ndarray, "stamps side side 1"]


def pixels(
    found: Facts, ink: UInt64[np.ndarray, "rows ink"], style: str, size: int
) -> UInt8[np.ndarray, "rows size size 3"]:
    """Pictures of scenes.

    Args:
        found: the scenes.
        ink: `INK` random numbers for each: colours, paper and noise.
        style: of `world.STYLES`.
        size: of the sides, in pixels.
    """
    canvases = np.empty((len(ink), size, size, 3), np.uint8)
    for start in range(0, len(ink), CHUNK):
        part = slice(start, start + CHUNK)
        _draw(canvases[part], Facts(*(column[part] for column in found)), ink[part], style)
    return canvases


INK = 5 + 3 * MOST
"""Random numbers per picture: three for the paper, two for its noise, three for each thing."""


def _draw(canvases: np.ndarray, found: Facts, ink: np.ndarray, style: str) -> None:
    size = canvases.shape[1]
    canvases[:] = _papers(ink[:, :5], style, size)
    stamps = stamps_of(style, size)
    side = stamps.own.shape[1]
    windows = sliding_window_view(canvases, (side, side), axis=(1, 2), writeable=True)
    windows = windows.transpose(0, 1, 2, 4, 5, 3)
    corners = [
        np.clip(np.floor(c * size).astype(int) - side // 2, 0, size - side) for c in found[-2:]
    ]
    which = (found.shape * len(RADII) + found.radius) * len(TILTS) + found.tilt
    tones = _jittered(found.colour, ink[:, 5:].reshape(-1, MOST, 3))
    for thing in range(int(found.count.max(initial=0))):
        (rows,) = np.nonzero(found.count > thing)
        stamp = which[rows, thing]
        at = rows, corners[1][rows, thing], corners[0][rows, thing]
        mixed = windows[at] * stamps.behind[stamp]
        mixed += tones[rows, thing, None, None] * stamps.own[stamp]
        mixed += stamps.light[stamp]
        windows[at] = mixed >> 8


def _jittered(colour: np.ndarray, ink: np.ndarray) -> UInt16[np.ndarray, "rows 4 3"]:
    palette = np.array([PALETTE[name] for name in COLOURS])
    moved = palette[colour] + chance.below(ink, 2 * JITTER + 1) - JITTER
    return np.clip(moved, 0, 255).astype(np.uint16)


def _papers(ink: np.ndarray, style: str, size: int) -> UInt8[np.ndarray, "rows h w 3"]:
    """Light backgrounds: plain, or in style "noisy" with clouds and grain."""
    mean, spread = PAPER
    paper = (mean + chance.below(ink[:, :3], spread + 1))[:, None, None].astype(np.uint8)
    if style != "noisy":
        return paper
    clouds = _clouds(size)
    window = sliding_window_view(clouds, (size, size))
    rows, columns = (chance.below(ink[:, number], size) for number in (3, 4))
    return paper - window[rows, columns][..., None]


@lru_cache(maxsize=4)
def _clouds(size: int) -> UInt8[np.ndarray, "2*size 2*size"]:
    """What noisy papers are darker by: soft clouds under grain, the same when shifted by `size`."""
    grey = np.zeros((size, size))
    for octave, weight in ((4, 40.0), (9, 30.0)):
        key = chance.secret("clouds", octave)
        knots = chance.fractions(chance.bits(key, np.arange(octave), octave))
        place = np.arange(size) * octave / size
        first, rest = place.astype(int), place % 1
        rest = rest * rest * (3 - 2 * rest)
        for down, below_it in ((0, 1 - rest), (1, rest)):
            for right, beside in ((0, 1 - rest), (1, rest)):
                rows, columns = (first + down) % octave, (first + right) % octave
                grey += weight * knots[np.ix_(rows, columns)] * np.outer(below_it, beside)
    grey += 30 * chance.fractions(chance.bits(chance.secret("grain"), np.arange(size), size))
    return np.tile(grey.astype(np.uint8), (2, 2))


@lru_cache(maxsize=16)
def stamps_of(style: str, size: int) -> Stamps:
    """The stamps of every shape, radius and tilt, in this order; made at the first call."""
    half = int(np.ceil(WIDEST * max(RADII) * size + 1))
    axis = np.arange(-half, half + 1.0)
    x, y = np.meshgrid(axis, axis)
    weights = []
    for shape in SHAPES:
        for radius in RADII:
            for tilt in TILTS:
                angle, extent = np.radians(tilt), radius * size
                u = (x * np.cos(angle) + y * np.sin(angle)) / extent
                v = (y * np.cos(angle) - x * np.sin(angle)) / extent
                weights.append(_weights(sampled(shape, u, v) * extent, u, v, extent, style))
    own, light, dark = np.moveaxis(np.array(weights), 1, 0)[..., None]
    behind = _ONE - own - light - dark
    return Stamps(behind, own, light * np.uint16(255))


def _weights(
    distance: Float[np.ndarray, "side side"],
    u: Float[np.ndarray, "side side"],
    v: Float[np.ndarray, "side side"],
    extent: float,
    style: str,
) -> UInt16[np.ndarray, "3 side side"]:
    """Own colour, white and black of one stamp, of 256; the rest is what lies behind.

    Args:
        distance: to the contour in pixels, negative inside.
        u: to the right of the centre, in radii, along the thing's own axes.
        v: below it.
        extent: the radius in pixels.
        style: of `world.STYLES`.
    """
    cover = np.clip(0.5 - distance, 0, 1)
    white, black = np.zeros_like(cover), np.zeros_like(cover)
    if style == "outline":
        stroke = max(1.8, 0.2 * extent)
        cover *= 1 - np.clip(0.5 - distance - stroke, 0, 1)
    elif style == "striped":
        period = max(4.0, 0.45 * extent)  # pixels
        wave = np.abs(((u + v) * extent / np.sqrt(2) / period) % 1 - 0.5) * period
        rim = np.clip(0.5 - distance - 1.2, 0, 1)
        white = 0.75 * np.clip(0.5 + wave - 0.3 * period, 0, 1) * rim
    elif style == "shaded":
        shine = np.exp(-4 * ((u + 0.3) ** 2 + (v + 0.35) ** 2))
        white, black = 0.65 * shine, 0.4 * np.clip(0.75 * (u + v), 0, 1)
    elif style == "cartoon":
        black = np.clip(0.5 + distance + max(1.0, 0.11 * extent), 0, 1)
    total, light, dark = np.round(_ONE * cover * np.stack([np.ones_like(cover), white, black]))
    return np.stack([total - light - dark, light, dark]).astype(np.uint16)
