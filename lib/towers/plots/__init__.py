"""Figures: functions that draw records and pictures with matplotlib, all in one style."""

from towers.plots.across import across
from towers.plots.clouds import clouds
from towers.plots.counts import counts, distributions
from towers.plots.curves import curves
from towers.plots.dots import dots
from towers.plots.pictures import neighbours, pictures, predictions, show
from towers.plots.scaling import scaling
from towers.plots.similarity import similarity
from towers.plots.style import PALETTE, shorten

__all__ = [
    "PALETTE",
    "across",
    "clouds",
    "counts",
    "curves",
    "distributions",
    "dots",
    "neighbours",
    "pictures",
    "predictions",
    "scaling",
    "shorten",
    "show",
    "similarity",
]
