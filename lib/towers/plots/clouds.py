"""`clouds`: groups of points in the plane, one panel a model."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from towers.plots.style import PALETTE, WIDTH


def clouds(frames: Mapping[str, pd.DataFrame], *, colour: str, columns: int = 3) -> Figure:
    """Points in the plane, one panel each; the panels have axes of one length.

    Args:
        frames: title of a panel -> its points, columns x, y and `colour`.
        colour: column whose values colour the points, the same in all panels.
        columns: panels in a row.

    Returns:
        The figure.

    Raises:
        ValueError: there is no panel, or one has no point.

    Source: Tschannen et al. 2023, Figs. 5 and 10.
    """
    if not frames or any(frame.empty for frame in frames.values()):
        raise ValueError(f"expected points in every panel, got {list(frames) or 'no panel'}")
    columns = min(columns, len(frames))
    lines = -(-len(frames) // columns)
    reach = 1.08 * max(frame[["x", "y"]].abs().to_numpy().max() for frame in frames.values())
    groups = list(dict.fromkeys(next(iter(frames.values()))[colour]))
    figure, axes = plt.subplots(
        lines, columns, figsize=(WIDTH, lines * WIDTH / columns + 0.4), squeeze=False, sharex=True,
        sharey=True, layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(frames) :]:
        axis.axis("off")
    for axis, (title, frame) in zip(axes.flat, frames.items(), strict=False):
        for index, group in enumerate(groups):
            members = frame[frame[colour] == group]
            axis.plot(
                members.x, members.y, "os"[index % 2], color=PALETTE[index % len(PALETTE)],
                label=group, markersize=2.5, alpha=0.5, markeredgewidth=0,
            )  # fmt: skip
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axis.set_title(title, fontsize=8.5)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), markerscale=2.5)
    return figure
