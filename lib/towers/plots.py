"""Every figure of the book: records and pictures in, a matplotlib figure out; one look for all."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette, which colour-blind readers can tell apart; ordered by contrast on white.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]
INK, MUTED, RIGHT, WRONG = "#1f2933", "#7b8794", "#009E73", "#D55E00"
WIDTH = 7.2  # inches; at 100 dpi the page's 720 px
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.12,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
}


class Labelled(Protocol):
    """Pictures with labels, such as a collection."""

    def image(self, index: int) -> Image.Image:
        """The picture of one item."""

    def __getitem__(self, index: int):
        """The item, which has a `label`."""


class Neighbours(Protocol):
    """What a text query found, the nearest first."""

    text: str
    items: Sequence[int]
    right: Sequence[bool]


sns.set_theme(style="white")
mpl.rcParams.update(STYLE)


def dots(
    frame: pd.DataFrame,
    *,
    rows: str,
    colour: str | None = None,
    panel: str | None = None,
    xlabel: str = "",
    chance: str | None = None,
    log: bool = False,
) -> Figure:
    """Values with their intervals as dots on lines, one line per row label.

    Where an interval reaches below zero, a line marks zero in every panel of a linear axis.

    Args:
        frame: columns `value`, `low`, `high` (fractions), and those named below.
        rows: column whose values name the lines, drawn from the top in order of appearance.
        colour: column that splits a line into dots of different colour and marker.
        panel: column that splits the figure into panels side by side.
        xlabel: label of the value axis.
        chance: column of chance levels, drawn as grey ticks.
        log: logarithmic value axis, for values that span decades.

    Returns:
        The figure.

    Raises:
        ValueError: a column is missing (the message names it), or there is no row.
    """
    wanted = {rows, colour, panel, chance, "value", "low", "high"} - {None}
    if missing := wanted - set(frame.columns):
        raise ValueError(f"expected columns {sorted(wanted)}, {sorted(missing)} are missing")
    if frame.empty:
        raise ValueError(
            f"expected at least one row to draw as {rows}, got an empty frame; "
            "check what was recorded and how it was filtered"
        )
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
        if not log:
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


def pictures(
    images: Sequence[Image.Image],
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    edge: Sequence[str] | None = None,
) -> Figure:
    """A contact sheet.

    Args:
        images: any sizes; each is fitted into its square, never cropped.
        titles: a short line under each picture.
        columns: pictures in a row.
        edge: frame colour of each picture.

    Returns:
        The figure.
    """
    count = len(images)
    lines = -(-count // columns)
    side = WIDTH / columns
    text = 0.24 if titles else 0.04
    figure, axes = plt.subplots(
        lines, columns, figsize=(WIDTH, lines * (side + text)), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    for index, axis in enumerate(axes.flat):
        if index < count:
            show(axis, images[index], edge[index] if edge else None)
            if titles:
                limit = max(8, int(96 / columns))
                axis.set_xlabel(shorten(titles[index], limit), fontsize=7, labelpad=2)
        else:
            axis.axis("off")
    return figure


def show(axis: mpl.axes.Axes, image: Image.Image, edge: str | None = None) -> None:
    """Draw a picture fitted into a square of white, with a thin frame."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    axis.imshow(square)
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=edge or "#cbd2d9", linewidth=2.2 if edge else 0.6)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; what was cut is marked by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def predictions(
    parts: Sequence[Labelled],
    guesses: Sequence[Sequence[Sequence[tuple[str, float]]]],
    *,
    names: Sequence[str],
    columns: int = 3,
) -> Figure:
    """Pictures beside their most probable classes, after Fig. 21 of Radford et al. 2021.

    Args:
        parts: labelled pictures, from one task each.
        guesses: per task and picture the most probable classes with their probabilities, best
            first.
        names: of the tasks, written over their pictures.
        columns: examples in a row.

    Returns:
        The figure; the right class is green, a wrong one orange.
    """
    examples = [
        (name, part.image(index), part[index].label, guess)
        for name, part, answers in zip(names, parts, guesses, strict=True)
        for index, guess in enumerate(answers)
    ]
    lines = -(-len(examples) // columns)
    figure = plt.figure(figsize=(WIDTH, 1.5 * lines), layout="constrained")
    grid = figure.add_gridspec(lines, 2 * columns, width_ratios=[1.0, 1.25] * columns)
    for place, (name, image, truth, guess) in enumerate(examples):
        line, column = divmod(place, columns)
        left = figure.add_subplot(grid[line, 2 * column])
        show(left, image, RIGHT if guess[0][0] == truth else WRONG)
        left.set_title(shorten(name, 20), fontsize=7, fontweight="normal")
        _shares(figure.add_subplot(grid[line, 2 * column + 1]), truth, guess)
    return figure


def _shares(axis: mpl.axes.Axes, truth: str, guess: Sequence[tuple[str, float]]) -> None:
    """Bars of probability with the class's name over each."""
    for place, (name, share) in enumerate(guess):
        colour = RIGHT if name == truth else WRONG
        axis.barh(place, share, color=colour, height=0.34, align="edge")
        label = f"{shorten(name, 24)}  {100 * share:.0f} %"
        axis.text(0, place - 0.08, label, fontsize=6.2, color=INK, va="bottom")
    axis.set(xlim=(0, 1), ylim=(len(guess) - 0.4, -0.7), xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.spines[["left", "bottom"]].set_visible(False)


def neighbours(
    found: Sequence[Neighbours], picture: Callable[[int], Image.Image], columns: int = 6
) -> Figure:
    """For each text query a row with its nearest pictures, the right one framed in green.

    Args:
        found: what each query found: its `text`, the `items` nearest first, and which are `right`.
        picture: index of an item -> its picture.
        columns: pictures in a row, at most.

    Returns:
        The figure.
    """
    figure, axes = plt.subplots(
        len(found),
        columns,
        figsize=(WIDTH, (0.3 + WIDTH / columns) * len(found) + 0.2),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.1, hspace=0.1, wspace=0.02)
    figure.suptitle(" ", fontsize=5)  # room for the first caption
    for line, hit in zip(axes, found, strict=True):
        place = {"transform": line[0].transAxes, "fontsize": 8, "color": INK}
        said = line[0].text(0, 1.06, f"“{shorten(hit.text, 90)}”", **place)
        said.set_in_layout(False)  # it runs over the columns and must not widen the first
        for axis in line[len(hit.items) :]:
            axis.axis("off")
        for axis, item, right in zip(line, hit.items, hit.right, strict=False):
            show(axis, picture(item), RIGHT if right else None)
    return figure


def similarity(
    images: Sequence[Image.Image],
    texts: Sequence[str],
    sims: np.ndarray,
    of_texts: np.ndarray,
    of_images: np.ndarray,
) -> Figure:
    """A batch as the contrastive loss sees it: one matrix of similarities, read in two ways.

    Args:
        images: pictures, one a row.
        texts: captions, one a column.
        sims: cosine similarities, (images, texts).
        of_texts: each picture's probabilities of the texts; rows add up to 1.
        of_images: each text's probabilities of the pictures; columns add up to 1.

    Returns:
        The figure; partners lie on the diagonal and are framed.
    """
    count = len(images)
    figure = plt.figure(figsize=(WIDTH, 7.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1.35, 1])
    large = figure.add_subplot(grid[0, :])
    _matrix(large, sims, "cosine similarity of every picture with every text", "{:.2f}", "Greys")
    names = [f"{number}  {shorten(text, 22)}" for number, text in enumerate(texts, start=1)]
    slanted = {"rotation": 28, "ha": "right", "rotation_mode": "anchor", "fontsize": 7.5}
    large.set_xticks(range(count), names, **slanted)
    large.tick_params(axis="y", pad=30)
    for row, image in enumerate(images):
        thumbnail = mpl.offsetbox.OffsetImage(_square(image, 96), zoom=0.27)
        box = mpl.offsetbox.AnnotationBbox(
            thumbnail, (0, row), xybox=(-18, 0), xycoords=("axes fraction", "data"),
            boxcoords="offset points", frameon=False,
        )  # fmt: skip
        large.add_artist(box)
    panels = {
        "softmax over each row: which text?": (of_texts, "Blues"),
        "softmax over each column: which picture?": (of_images, "Oranges"),
    }
    for column, (title, (shares, colours)) in enumerate(panels.items()):
        axis = figure.add_subplot(grid[1, column])
        _matrix(axis, shares, title, "{:.0%}", colours, (0, 1))
        axis.set_xticks(range(count), range(1, count + 1), fontsize=7.5)
    return figure


def _matrix(
    axis: mpl.axes.Axes,
    values: np.ndarray,
    title: str,
    form: str,
    colours: str,
    span: tuple[float | None, float | None] = (None, None),
) -> None:
    """One matrix with its numbers written in, and its diagonal framed."""
    drawn = axis.imshow(values, cmap=colours, aspect="auto", vmin=span[0], vmax=span[1])
    axis.set_title(title, fontsize=9)
    axis.set_yticks(range(len(values)), range(1, len(values) + 1), fontsize=7.5)
    axis.grid(visible=False)
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if drawn.norm(value) > 0.6 else INK
        axis.text(
            column, row, form.format(value), ha="center", va="center", color=ink, fontsize=6.8
        )
        if row == column:
            corner = (column - 0.47, row - 0.47)
            axis.add_patch(
                mpl.patches.Rectangle(
                    corner, 0.94, 0.94, fill=False, edgecolor=RIGHT, linewidth=1.8
                )
            )


def _square(image: Image.Image, side: int) -> np.ndarray:
    """A picture fitted into a square of white, as pixels."""
    square = Image.new("RGB", (max(image.size),) * 2, "white")
    square.paste(image, tuple((square.width - length) // 2 for length in image.size))
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))


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
    axis.set(xlabel=xlabel, ylabel=ylabel)
    figure.legend(loc="outside lower center", ncols=5)
    return figure


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
        axis.set_title(f"{name}: median {middle:g}, n = {len(numbers):,}", fontsize=8.5)
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
