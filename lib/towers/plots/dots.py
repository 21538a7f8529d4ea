"""`dots`: values with their intervals, one line a model or task."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from towers.plots.style import INK, MUTED, PALETTE, WIDTH, check


def dots(
    frame: pd.DataFrame,
    *,
    rows: str,
    colour: str | None = None,
    panel: str | None = None,
    xlabel: str = "",
    chance: str | None = None,
    log: bool = False,
    percent: bool = True,
    line: float | None = None,
) -> Figure:
    """Values with their intervals as dots on lines, one line per row label.

    Where an interval reaches below zero, a line marks zero in every panel of a linear axis.

    Args:
        frame: columns `value`, `low`, `high`, and those named below.
        rows: column whose values name the lines, drawn from the top in order of appearance.
        colour: column that splits a line into dots of different colour and marker.
        panel: column that splits the figure into panels side by side.
        xlabel: label of the value axis.
        chance: column of chance levels, drawn as grey ticks.
        log: logarithmic value axis, for values that span decades.
        percent: write the values of a linear axis, which are fractions, as percent.
        line: a value to mark in every panel.

    Returns:
        The figure.

    Raises:
        ValueError: a column is missing (the message names it), or there is no row.
    """
    check(frame, {rows, colour, panel, chance, "value", "low", "high"} - {None}, rows)
    labels = list(dict.fromkeys(frame[rows]))
    groups = list(dict.fromkeys(frame[colour])) if colour else [None]
    panels = list(dict.fromkeys(frame[panel])) if panel else [None]
    height = 0.75 + 0.3 * len(labels) * max(1, 0.55 * len(groups)) + 0.3 * (len(groups) > 1)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, height), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[0], panels, strict=True):
        part = frame if name is None else frame[frame[panel] == name]
        _dots_panel(axis, part, labels, groups, rows, colour, chance)
        axis.set(title=name or "", xlabel=xlabel, xscale="log" if log else "linear")
        if line is not None:
            axis.axvline(line, color=INK, linewidth=1, zorder=1)
        if not log:
            if percent:
                axis.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=None))
            if (frame["low"] < 0).any():
                axis.axvline(0, color=INK, linewidth=1, zorder=1)
            axis.set_xlim(left=min(0.0, float(part["low"].min())))
        axis.grid(axis="y", visible=False)
    if colour:
        handles, names = axes[0][0].get_legend_handles_labels()
        unique = dict(zip(names, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=len(unique))
    return figure


def _dots_panel(axis, part, labels, groups, rows, colour, chance) -> None:
    """One panel of `dots`."""
    spread = 0.26 if len(groups) > 1 else 0.0
    for index, group in enumerate(groups):
        chosen = part if group is None else part[part[colour] == group]
        shift = (index - (len(groups) - 1) / 2) * 2 * spread / max(1, len(groups) - 1)
        places = np.array([labels.index(label) for label in chosen[rows]]) + shift
        values = chosen["value"].to_numpy(float)
        around = np.abs(np.stack([values - chosen["low"], chosen["high"] - values]).astype(float))
        axis.errorbar(
            values,
            places,
            xerr=around,
            fmt="osD^vP"[index % 6],
            markersize=5,
            color=PALETTE[index % len(PALETTE)],
            ecolor=PALETTE[index % len(PALETTE)],
            elinewidth=1.4,
            label=group,
        )
        if chance:
            axis.plot(chosen[chance], places, "|", color=MUTED, markersize=9, label="chance")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(len(labels) - 0.5, -0.5)
