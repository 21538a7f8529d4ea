"""What rendering keeps of texts and what it loses, by language.

Source: Tschannen et al. 2023, sections 4.1 and 4.4.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from towers import metrics
from towers.records import Measurement
from towers.rendering import PAPER, Style, drawn, ink_share
from towers.rendering.glyphs import unifont


def by_language(
    texts: Mapping[str, Sequence[str]], size: int = 224, style: Style = PAPER
) -> pd.DataFrame:
    """Counts over the texts of each language.

    Args:
        texts: language -> its texts, at least one each.
        size: side of a page in pixels.
        style: how they are set.

    Returns:
        One row a language: `texts`; `characters`, their mean number; `cut`, how many texts do not
        fit on the page; `lost`, the share of all characters that is not drawn; `unknown`, the share
        of characters without a glyph, spaces apart; `ink`, the share of a page's patches with ink.
    """
    return pd.DataFrame([_row(name, list(own), size, style) for name, own in texts.items()])


def evaluate(frame: pd.DataFrame, data: str) -> list[Measurement]:
    """The counts as records.

    Args:
        frame: rows of `by_language`.
        data: that the texts are from.

    Returns:
        For each `language` "ink share", "characters lost", "unknown characters", and "texts cut"
        as a share with its Clopper-Pearson interval. Of all languages together the same, and
        "languages".
    """
    rows = []
    for row in frame.itertuples():
        shared = {"model": "renderer", "data": data, "n": row.texts}
        shared["at"] = {"language": row.language}
        cut, ends = row.cut / row.texts, metrics.intervals.clopper_pearson(row.cut, row.texts)
        rows += [
            Measurement(metric="ink share", value=row.ink, **shared),
            Measurement(metric="characters lost", value=row.lost, **shared),
            Measurement(metric="unknown characters", value=row.unknown, **shared),
            Measurement(metric="texts cut", value=cut, low=ends.low, high=ends.high, **shared),
        ]
    count, characters = frame.texts.sum(), frame.texts * frame.characters
    whole = {
        "ink share": np.average(frame.ink, weights=frame.texts),
        "characters lost": np.average(frame.lost, weights=characters),
        "unknown characters": np.average(frame.unknown, weights=characters),
        "texts cut": frame.cut.sum() / count,
        "languages": len(frame),
    }
    return rows + [
        Measurement(model="renderer", data=data, metric=metric, value=float(value), n=int(count))
        for metric, value in whole.items()
    ]


def _row(language: str, texts: list[str], size: int, style: Style) -> dict:
    lengths = np.array([len(text) for text in texts])
    seen = drawn(texts, size, style)
    letters = np.array([ord(letter) for text in texts for letter in text if not letter.isspace()])
    unknown = unifont().number[letters] == 0
    return {
        "language": language,
        "texts": len(texts),
        "characters": lengths.mean(),
        "cut": int((seen < lengths).sum()),
        "lost": 1 - seen.sum() / max(1, lengths.sum()),
        "unknown": float(unknown.mean()) if len(unknown) else 0.0,
        "ink": ink_share(texts, size=size, style=style),
    }
