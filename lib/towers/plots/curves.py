"""`curves`: lines over a shared axis, such as losses over updates."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from towers.plots.style import INK, PALETTE, WIDTH


def curves(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    colour: str,
    xlabel: str,
    ylabel: str,
    percent: bool = False,
    chance: float | None = None,
) -> Figure:
    """Lines over a shared axis; where a group has several values at a place, their mean and range.

    Args:
        frame: one row a point.
        x: column of places.
        y: column of values.
        colour: column whose values name the lines.
        xlabel: label of the places, with the unit.
        ylabel: label of the values, with the unit.
        percent: write the values, which are fractions, as percent.
        chance: a level to mark.

    Returns:
        The figure.

    Raises:
        ValueError: there is no row.
    """
    if frame.empty:
        raise ValueError(f"expected at least one point of {y} to draw, got an empty frame")
    figure, axis = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    for index, (name, part) in enumerate(frame.groupby(colour, sort=False)):
        over = part.groupby(x)[y].agg(["mean", "min", "max"])
        tone, style = PALETTE[index % len(PALETTE)], ("-", "--", ":", "-.")[index % 4]
        axis.plot(over.index, over["mean"], style, color=tone, label=str(name), linewidth=1.5)
        if (over["max"] > over["min"]).any():
            axis.fill_between(over.index, over["min"], over["max"], color=tone, alpha=0.2, lw=0)
    if chance is not None:
        axis.axhline(chance, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), label="chance")
    if percent:
        axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=None))
    if pd.api.types.is_integer_dtype(frame[x]):  # there is no half a layer
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    figure.legend(loc="outside lower center", ncols=5)
    return figure
