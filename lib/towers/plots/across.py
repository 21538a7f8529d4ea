"""`across`: values of several models over many named places, such as languages."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from towers.plots.style import INK, PALETTE, WIDTH, check


def across(
    frame: pd.DataFrame,
    *,
    places: str,
    colour: str,
    ylabel: str,
    panel: str | None = None,
    chance: str | None = None,
    percent: bool = False,
    log: bool = False,
) -> Figure:
    """One marker a value, over places in order of appearance, whose names stand upright below.

    Args:
        frame: column `value`, for intervals also `low` and `high`, and those named below.
        places: column whose values name the places.
        colour: column that splits the values of a place.
        ylabel: label of the values, with the unit.
        panel: column that splits the figure into panels, one below the other.
        chance: column of chance levels, drawn as a grey line.
        percent: write the values, which are fractions, as percent, from zero.
        log: logarithmic values.

    Returns:
        The figure.

    Raises:
        ValueError: a column is missing (the message names it), or there is no row.
    """
    check(frame, {places, colour, panel, chance, "value"} - {None}, places)
    labels, groups = (list(dict.fromkeys(frame[column])) for column in (places, colour))
    panels = list(dict.fromkeys(frame[panel])) if panel else [None]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(WIDTH, 0.8 + 2.3 * len(panels)), sharex=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, name in zip(axes[:, 0], panels, strict=True):
        part = frame if name is None else frame[frame[panel] == name]
        _markers(axis, part, labels, groups, places, colour)
        if chance:
            levels = part.drop_duplicates(places).set_index(places)[chance].reindex(labels)
            style = {"color": INK, "linewidth": 0.8, "linestyle": (0, (2, 3)), "label": "chance"}
            axis.plot(range(len(labels)), levels, **style)
        axis.set(title=name or "", ylabel=ylabel, yscale="log" if log else "linear")
        if percent:
            axis.set_ylim(bottom=min(0.0, float(part["value"].min())))
            axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=None))
        elif log:
            axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
            axis.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axis.set_xlim(-0.7, len(labels) - 0.3)
    size = float(np.clip(430 / len(labels), 5.5, 8.5))
    axes[-1, 0].set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)))
    return figure


def _markers(axis, part, labels, groups, places, colour) -> None:
    """One panel; the values of a place stand side by side where they have intervals."""
    number = {label: place for place, label in enumerate(labels)}
    apart = {"low", "high"} <= set(part.columns)
    for index, group in enumerate(groups):
        members = part[part[colour] == group]
        shift = 0.5 * ((index + 0.5) / len(groups) - 0.5) if apart else 0.0
        at = members[places].map(number).to_numpy(float) + shift
        tone, marker = PALETTE[index % len(PALETTE)], "osD^vP"[index % 6]
        axis.plot(at, members["value"], marker, color=tone, markersize=3.2, label=str(group))
        if apart:
            axis.vlines(at, members["low"], members["high"], color=tone, linewidth=0.8, alpha=0.7)
