"""An explorer of text: as the picture that a pixel tower reads, and as a tokenizer's pieces."""

import base64
import html
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from towers.rendering import render
from towers.widgets.packing import glyph_table, word_pieces

EXAMPLES = {
    "English": "A photo of two cats that sleep on a red sofa.",
    "Deutsch": "Ein Foto von zwei Katzen, die auf einem roten Sofa schlafen.",
    "Русский": "Две кошки спят на красном диване.",
    "日本語": "赤いソファで寝ている二匹の猫の写真。",
    "한국어": "빨간 소파에서 자는 고양이 두 마리의 사진.",
    "हिन्दी": "लाल सोफ़े पर सोती दो बिल्लियाँ।",
    "العربية": "قطتان نائمتان على أريكة حمراء.",
    "Emoji": "🐈🐈 💤 🛋",
    "Typos": "A fotto of twoo catts taht sleeep on a redd soffa.",
}
"""Button -> text."""
_FOLDER = Path(__file__).parent
_numbers = itertools.count(1)


@dataclass(frozen=True)
class TextExplorer:
    """An explorer as HTML, which a notebook shows by itself.

    Attributes:
        text: what it begins with.
        examples: name of a button -> text.
    """

    text: str
    examples: Mapping[str, str] = field(default_factory=lambda: EXAMPLES)

    def _repr_html_(self) -> str:
        """Markup, style, script, glyphs and vocabulary, without a reference to anything else."""
        name = f"towers-text-{next(_numbers)}"
        data = {
            "text": self.text,
            "examples": dict(self.examples),
            "glyphs": glyph_table(),
            "pieces": word_pieces(),
        }
        script = (_FOLDER / "text.js").read_text(encoding="utf-8")
        style = (_FOLDER / "text.css").read_text(encoding="utf-8")
        argument = json.dumps(data).replace("<", "\\u003c")  # so that no text ends the script
        return (
            f'<div class="towers-text" id="{name}">{self._still()}</div>\n'
            f"<style>{style}</style>\n"
            f"<script>(() => {{\n{script}\n"
            f'textExplorer(document.getElementById("{name}"), {argument});\n}})();</script>'
        )

    def _still(self) -> str:
        """A picture, shown where no script runs."""
        file = io.BytesIO()
        Image.fromarray(render([self.text])[0]).save(file, "PNG")
        coded = base64.b64encode(file.getvalue()).decode("ascii")
        alt = html.escape(f"The text “{self.text}”, rendered as a picture of 224 by 224 pixels.")
        return f'<img alt="{alt}" width="448" src="data:image/png;base64,{coded}">'


def text_explorer(
    text: str = EXAMPLES["English"], examples: Mapping[str, str] | None = None
) -> TextExplorer:
    """An explorer of text as pixels: it draws in the browser what `rendering.render` gives.

    A page with it needs no kernel and no network. The glyphs that come along are all of plane 0
    and the emoji, but of the Chinese characters the 7,174 that China's, Japan's and Taiwan's
    standards put first; a character that has a glyph but did not come along is drawn as a hatched
    box, and counted. Beside the picture stand the word pieces of MiniLM's tokenizer (BERT's
    English vocabulary), which the browser computes too, and the number of bytes.

    Args:
        text: what it begins with.
        examples: name of a button -> text; some languages if None.
    """
    return TextExplorer(text, EXAMPLES if examples is None else examples)
