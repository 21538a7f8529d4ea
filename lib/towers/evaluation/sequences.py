"""How long texts are as rendered patches and as tokens, by language.

A tokenizer that lacks a script has one token for whatever is written in it, and so the shortest
sequence. Each comparison is therefore made twice: with such a token taken for one, and with all
that it stands for spelt in bytes.

Source: Tschannen et al. 2023, section 4.4 and appendix C.4 (Fig. 4 and 9).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from towers import metrics, rendering
from towers.models import segments
from towers.records import Measurement
from towers.rendering.glyphs import unifont

MAJORITY = 0.75
"""Share of a language's texts that have to be shorter, or more exactly: more of them than this."""

WAYS = {"one token": "tokens", "bytes": "spelt"}
"""What something unknown counts as, and the field of `segments.Counted` that has it so."""

PIXELS = "pixels"
"""Name of the rendered patches in records."""


def more_efficient(
    ours: Int[np.ndarray, " texts"], theirs: Int[np.ndarray, " texts"], majority: float = MAJORITY
) -> bool:
    """Whether our sequences are shorter for more than a share of the texts.

    Args:
        ours: lengths, at least one.
        theirs: of the same texts. Sequences of one length are not shorter.
        majority: the share, in [0, 1).

    Raises:
        ValueError: other texts, or none; a share out of range.

    Source: Tschannen et al. 2023, section 4.4: "a shorter token sequence for over 75% of examples".
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size or not 0 <= majority < 1:
        raise ValueError(
            f"expected lengths of the same texts and a share in [0, 1), got shapes {ours.shape} "
            f"and {theirs.shape} and {majority}; count the same texts, at least one"
        )
    return bool((ours < theirs).sum() > majority * ours.size)


def patches(texts: Sequence[str], size: int = 224) -> segments.Counted:
    """Lengths of rendered texts: up to the last patch of 16 pixels with ink.

    Args:
        texts: any.
        size: side of a page in pixels. What does not fit on it is unread, and makes the sequence
            no longer; so are letters that the font lacks.
    """
    found = rendering.to_patches(list(texts), size=size).sequence_lengths
    glyphs = unifont().number
    unread = [
        segments.letters(text[seen:]) + sum(glyphs[ord(each)] == 0 for each in text[:seen])
        for text, seen in zip(texts, rendering.drawn(texts, size), strict=True)
    ]
    return segments.Counted(found, found, np.array(unread, dtype=np.int64))


def by_language(
    texts: Mapping[str, Sequence[str]], tokenizers: Mapping[str, str], size: int = 224
) -> pd.DataFrame:
    """Lengths of the texts of each language, as patches and as each tokenizer's tokens.

    Args:
        texts: language -> its texts, at least one each.
        tokenizers: how a tokenizer is called -> its name, as `segments.count` takes it.
        size: side of a page in pixels.

    Returns:
        For each language one row of "pixels", then for each tokenizer one row a way of `WAYS`:
        `language`, `model`, `unknown` (the way), `texts`, `letters`, `length` (mean), `unread`
        (share of the letters), `shorter` (share of the texts that are shorter as patches) and
        `efficient` (`more_efficient`); the last two are missing for pixels.
    """
    rows = []
    for language, own in texts.items():
        own = list(own)
        ours, total = patches(own, size), sum(map(segments.letters, own))
        rows.append(_row(language, PIXELS, "one token", ours.tokens, ours.unread, total))
        for name, source in tokenizers.items():
            counted = segments.count(source, own)
            for way, field in WAYS.items():
                lengths = getattr(counted, field)
                rows.append(
                    _row(language, name, way, lengths, counted.unread, total)
                    | {
                        "shorter": float((ours.tokens < lengths).mean()),
                        "efficient": more_efficient(ours.tokens, lengths),
                    }
                )
    return pd.DataFrame(rows)


def evaluate(frame: pd.DataFrame, data: str, seed: int = 0) -> list[Measurement]:
    """The lengths as records.

    Args:
        frame: rows of `by_language`.
        data: that the texts are from.
        seed: of the bootstrap.

    Returns:
        For each model and `language` "length" and "unread letters". Over languages, for each
        tokenizer "languages where pixels are shorter", n languages; for each model "mean length"
        and "spread of lengths", their standard deviation (ddof 1) over their mean, and "unread
        letters". Lengths with what is unknown spelt otherwise than as one token are at `unknown`
        "bytes". Intervals are 95 % bootstraps over languages, variants of one together, such as
        "pt" and "pt_BR".
    """
    rows = []
    for (model, way), part in frame.groupby(["model", "unknown"], sort=False):
        at = {} if way == "one token" else {"unknown": way}
        rows += _of_languages(model, part, data, at)
        drawn = {"groups": families(part.language), "seed": seed}
        shared = {"model": model, "data": data, "n": len(part), "seed": seed}
        lengths = part.length.to_numpy()
        measured = {
            "mean length": (lengths.mean(), metrics.intervals.bootstrap(lengths, **drawn)),
            "spread of lengths": (
                _spread(lengths), metrics.intervals.bootstrap(lengths, _spread, **drawn)
            ),
        }  # fmt: skip
        if model != PIXELS:
            won = part.efficient.to_numpy(float)
            ends = metrics.intervals.proportion(won, **drawn)
            measured["languages where pixels are shorter"] = (won.mean(), ends)
        rows += [
            Measurement(metric=metric, value=float(value), low=low, high=high, at=at, **shared)
            for metric, (value, (low, high)) in measured.items()
        ]
        if not at:
            lost = float((part.unread * part.letters).sum() / part.letters.sum())
            rows.append(Measurement(metric="unread letters", value=lost, **shared))
    return rows


def families(languages: Sequence[str]) -> list[str]:
    """The language of each variant: "pt" of "pt_BR", "sr" of "sr@latin"."""
    return [code.split("_")[0].split("@")[0] for code in languages]


def _row(language: str, model: str, way: str, lengths: np.ndarray, unread: np.ndarray, total: int):
    """What pixels and tokenizers have in common."""
    return {
        "language": language, "model": model, "unknown": way, "texts": len(lengths),
        "letters": total, "length": float(lengths.mean()),
        "unread": float(unread.sum() / max(1, total)),
    }  # fmt: skip


def _of_languages(model: str, part: pd.DataFrame, data: str, at: dict) -> list[Measurement]:
    """Records of single languages."""
    rows = []
    for row in part.itertuples():
        where = {"language": row.language} | at
        shared = {"model": model, "data": data, "n": row.texts, "at": where}
        rows.append(Measurement(metric="length", value=row.length, **shared))
        if not at:
            rows.append(Measurement(metric="unread letters", value=row.unread, **shared))
    return rows


def _spread(lengths: Float[np.ndarray, " languages"]) -> float:
    return float(lengths.std(ddof=1) / lengths.mean())
