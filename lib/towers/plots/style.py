"""The style of all figures: colours, sizes, fonts."""

import matplotlib as mpl
import pandas as pd
import seaborn as sns

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

sns.set_theme(style="white")
mpl.rcParams.update(STYLE)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters; what was cut is marked by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def check(frame: pd.DataFrame, wanted: set[str], rows: str) -> None:
    """Refuse a frame that lacks a column or has no row to draw.

    Args:
        frame: to draw.
        wanted: columns that it must have.
        rows: the column that names what is drawn, for the message.

    Raises:
        ValueError: it lacks one, or is empty.
    """
    if missing := wanted - set(frame.columns):
        raise ValueError(f"expected columns {sorted(wanted)}, {sorted(missing)} are missing")
    if frame.empty:
        raise ValueError(
            f"expected at least one row to draw as {rows}, got an empty frame; "
            "check what was recorded and how it was filtered"
        )
