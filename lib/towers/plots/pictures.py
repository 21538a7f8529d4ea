"""Pictures: contact sheets, pictures beside a model's predictions, and nearest neighbours."""

from collections.abc import Callable, Sequence
from typing import Protocol

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from towers.plots.style import INK, RIGHT, WIDTH, WRONG, shorten

SHOWN = 256
"""Longest side in pixels of a picture in a figure."""


class Labelled(Protocol):
    """Pictures with labels, such as a collection."""

    def image(self, index: int) -> Image.Image:
        """The picture of one item."""

    def __getitem__(self, index: int):
        """The item, which has a class among its `targets`."""


class Neighbours(Protocol):
    """A text query and its nearest items, the nearest first."""

    text: str
    items: Sequence[int]
    right: Sequence[bool]


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
    axis.imshow(on_square(image))
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=edge or "#cbd2d9", linewidth=2.2 if edge else 0.6)


def on_square(image: Image.Image) -> Image.Image:
    """A picture of at most `SHOWN` pixels, in the middle of a square of white."""
    small = image.copy()
    small.thumbnail((SHOWN, SHOWN))
    side = max(small.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return square


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
        (name, part.image(index), part[index].targets["class"], guess)
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
    queries: Sequence[Neighbours], picture: Callable[[int], Image.Image], columns: int = 6
) -> Figure:
    """For each text query a row with its nearest pictures, the right one framed in green.

    Args:
        queries: with their `text`, the `items` nearest first, and which of these are `right`.
        picture: index of an item -> its picture.
        columns: pictures in a row, at most.

    Returns:
        The figure.
    """
    figure, axes = plt.subplots(
        len(queries),
        columns,
        figsize=(WIDTH, (0.3 + WIDTH / columns) * len(queries) + 0.2),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.1, hspace=0.1, wspace=0.02)
    figure.suptitle(" ", fontsize=5)  # room for the first caption
    for line, query in zip(axes, queries, strict=True):
        place = {"transform": line[0].transAxes, "fontsize": 8, "color": INK}
        caption = line[0].text(0, 1.06, f"“{shorten(query.text, 90)}”", **place)
        caption.set_in_layout(False)  # it runs over the columns and must not widen the first
        for axis in line[len(query.items) :]:
            axis.axis("off")
        for axis, item, right in zip(line, query.items, query.right, strict=False):
            show(axis, picture(item), RIGHT if right else None)
    return figure
