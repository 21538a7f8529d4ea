"""An explorer of text as pixels for a running notebook, drawn by the library itself."""

import io

import ipywidgets
from PIL import Image

from towers.rendering import Style, drawn, render, to_patches
from towers.widgets.text import EXAMPLES

SIDE = 448
"""Width and height on the screen, in pixels."""


def live_text_explorer(text: str = EXAMPLES["English"]) -> ipywidgets.VBox:
    """As `text_explorer`, but drawn by the library, with every glyph, and in other styles.

    Args:
        text: what it begins with.
    """
    entry = ipywidgets.Textarea(text, description="Your text", layout={"width": "100%"})
    styles = {
        name: ipywidgets.Checkbox(description=name.replace("_", " "), indent=False)
        for name in ("monospace", "word_wrap")
    }
    larger = ipywidgets.ToggleButtons(options=[16, 32, 48], description="font size")
    picture = ipywidgets.Image(width=SIDE, height=SIDE, format="png")
    sums = ipywidgets.Label()

    def update(change: dict | None = None) -> None:
        chosen = {name: box.value for name, box in styles.items()}
        style = Style(font_size=larger.value, **chosen)
        picture.value = _png([entry.value], style)
        inked = to_patches([entry.value], style=style).lengths[0]
        shown = drawn([entry.value], style=style)[0]
        sums.value = f"{inked} of 196 patches carry ink; {shown} characters are drawn"

    for control in (entry, larger, *styles.values()):
        control.observe(update, "value")
    update()
    return ipywidgets.VBox([entry, ipywidgets.HBox([*styles.values()]), larger, sums, picture])


def _png(texts: list[str], style: Style) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(render(texts, style=style)[0])
    image.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()
