"""Text to pixels: GNU Unifont, the released renderer's layout, pictures and their patches."""

from towers.rendering.layout import PAPER, RenderingError, Style, drawn
from towers.rendering.patches import Patches, ink_share, to_patches
from towers.rendering.pixels import render
from towers.rendering.questions import render_question

__all__ = [
    "PAPER", "Patches", "RenderingError", "Style", "drawn", "ink_share", "render",
    "render_question", "to_patches",
]  # fmt: skip
