"""A question above its picture, as one picture, for question answering by a single tower."""

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from towers.rendering.layout import PAPER, Style, place
from towers.rendering.pixels import render


def render_question(
    image: Image.Image | UInt8[ndarray, "height width 3"],
    question: str,
    size: int = 224,
    style: Style = PAPER,
) -> UInt8[ndarray, "size size 3"]:
    """Lines of a question on top, and the picture resized to fill what remains.

    The picture is resized with bilinear weights, without regard to its shape. It keeps the height
    of one line at least; lines that would take that are not drawn.

    Args:
        image: in colour; transparent parts are shown as they are stored.
        question: any text; an empty one leaves all to the picture.
        size: side of the result, in pixels.
        style: how the question is set.

    Raises:
        RenderingError: the question is no str, or the size is below two lines.

    Source: Tschannen et al. 2023, appendix A, Fig. 7.
    """
    text = render([question], size, style)[0]
    lines = place([question], size, style).line.max(initial=-1) + 1
    top = min(int(lines), size // style.font_size - 1) * style.font_size
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    below = picture.convert("RGB").resize((size, size - top), Image.Resampling.BILINEAR)
    above = np.repeat(text[:top, :, None], 3, axis=2)
    return np.concatenate([above, np.asarray(below)])
