"""`scaling`: values against size with a fitted power law, both axes logarithmic."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from towers.plots.style import INK, MUTED, PALETTE, WIDTH


def scaling(
    points: pd.DataFrame,
    band: pd.DataFrame,
    *,
    x: str,
    y: str,
    colour: str,
    xlabel: str,
    ylabel: str,
    parts: pd.DataFrame | None = None,
    part: str = "",
) -> Figure:
    """Points, the straight line through them with its band, and thin lines of what they average.

    Args:
        points: one row a point; the points of one colour are joined in order of x.
        band: columns `value`, `low`, `high` and x of the fitted line, in order.
        x: column of the sizes, above zero.
        y: column of the values, above zero.
        colour: column whose values name the points.
        xlabel: label of the sizes, with the unit.
        ylabel: label of the values, with the unit.
        parts: rows behind the averages, drawn as thin lines.
        part: their column that says which line a row belongs to.

    Returns:
        The figure; values are written as percent.

    Raises:
        ValueError: there is no point.

    Source: Radford et al. 2021, Fig. 9.
    """
    if points.empty:
        raise ValueError(f"expected at least one point of {y} to draw, got an empty frame")
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    if parts is not None:
        for number, (_, line) in enumerate(parts.groupby(part, sort=False)):
            label = None if number else "single evaluations"
            axis.plot(line[x], line[y], color=MUTED, alpha=0.45, linewidth=0.8, label=label)
    axis.plot(band[x], band["value"], color=INK, linestyle="--", linewidth=1.4, label="fit")
    axis.fill_between(band[x], band["low"], band["high"], color=INK, alpha=0.12, linewidth=0)
    for index, (name, members) in enumerate(points.groupby(colour, sort=False)):
        tone, marker = PALETTE[index % len(PALETTE)], "osD^vP"[index % 6]
        line = members.sort_values(x)
        axis.plot(line[x], line[y], color=tone, marker=marker, linewidth=1.2, label=str(name))
    axis.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    low, high = axis.get_ylim()
    steps = (1, 2, 5) if high > 10 * low else (1, 2, 3, 4, 5, 6, 7, 8, 9)
    axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=steps))
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axis.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    places = np.unique(points[x])
    if len(places) <= 6 and places.max() < 1e7:  # counts, each of them worth its tick
        axis.set_xticks(places, [f"{place:,.0f}" for place in places])
        axis.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    figure.legend(loc="outside lower center", ncols=4)
    return figure
