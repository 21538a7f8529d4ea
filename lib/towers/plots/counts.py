"""`counts`: bars with their numbers; `distributions`: histograms."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from towers.plots.style import INK, PALETTE, WIDTH


def distributions(
    values: Mapping[str, Sequence[float]], *, xlabel: str, bins: Sequence[float]
) -> Figure:
    """Histograms under one another, on one axis.

    Args:
        values: per name its values.
        xlabel: label of the shared axis, with the unit.
        bins: edges.

    Returns:
        The figure; heights are shares of each collection.
    """
    figure, axes = plt.subplots(
        len(values),
        1,
        figsize=(WIDTH, 0.6 + 0.85 * len(values)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for index, (axis, (name, numbers)) in enumerate(zip(axes[:, 0], values.items(), strict=True)):
        weights = np.full(len(numbers), 1 / max(1, len(numbers)))
        colour = PALETTE[index % len(PALETTE)]
        clipped = np.clip(numbers, bins[0], bins[-1] - 1e-9)
        axis.hist(clipped, bins=bins, weights=weights, color=colour, alpha=0.85)
        middle = float(np.median(numbers))
        axis.axvline(middle, color=INK, linewidth=1)
        axis.set_title(f"{name}: median {middle:.4g}, n = {len(numbers):,}", fontsize=8.5)
        axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))
        axis.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3))
    axes[-1, 0].set_xlabel(xlabel)
    return figure


def counts(
    frame: pd.DataFrame, *, rows: str, value: str, xlabel: str, colour: str | None = None
) -> Figure:
    """Horizontal bars with their numbers written out.

    Args:
        frame: one row per bar, drawn from the top.
        rows: column with the labels.
        value: column with the lengths.
        xlabel: label of the value axis, with the unit.
        colour: column that colours the bars.

    Returns:
        The figure.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 0.6 + 0.24 * len(frame)), layout="constrained")
    groups = list(dict.fromkeys(frame[colour])) if colour else []
    colours = (
        [PALETTE[groups.index(g) % len(PALETTE)] for g in frame[colour]] if colour else PALETTE[0]
    )
    bars = axis.barh(range(len(frame)), frame[value], color=colours, height=0.7)
    axis.bar_label(bars, [f"{number:,.0f}" for number in frame[value]], padding=3, fontsize=7.5)
    axis.set_yticks(range(len(frame)), frame[rows])
    axis.set(xlabel=xlabel, ylim=(len(frame) - 0.4, -0.6))
    axis.margins(x=0.1)
    axis.grid(axis="y", visible=False)
    for index, group in enumerate(groups):
        axis.barh([0], [0], color=PALETTE[index % len(PALETTE)], label=group)
    if groups:
        axis.legend(loc="lower right")
    return figure
