"""`similarity`: the matrix of similarities of a batch, as the contrastive loss reads it."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from towers.plots.pictures import on_square
from towers.plots.style import INK, RIGHT, WIDTH, shorten


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
        pixels = np.asarray(on_square(image).resize((96, 96), Image.Resampling.LANCZOS))
        thumbnail = mpl.offsetbox.OffsetImage(pixels, zoom=0.27)
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
