"""What a collection is: counts, languages, caption lengths, overlaps. No model is asked."""

from itertools import combinations

import numpy as np
import pandas as pd

from towers import data, metrics
from towers.data import duplicates
from towers.records import Measurement


def evaluate(collection: data.Collection, seed: int = 0) -> list[Measurement]:
    """Count a collection.

    Args:
        collection: any.
        seed: of the bootstrap.

    Returns:
        Candidates found, items kept, the share "dropped" for each `reason` (with its interval),
        languages, classes, captions per item and words per English caption (means with bootstrap
        intervals over groups of near duplicates, `Item.group`, so over items at least).
    """
    report = collection.report
    name = collection.name

    def row(metric: str, value: float, n: int, bounds: tuple = (None, None), **at) -> Measurement:
        return Measurement(
            model="none", data=name, metric=metric, value=float(value), low=bounds[0],
            high=bounds[1], n=n, at=at,
        )  # fmt: skip

    rows = [
        row("candidates", report.found, report.found),
        row("items", len(collection), len(collection)),
        row("languages", len(collection.languages()), len(collection)),
        row("classes", len(collection.classes), len(collection)),
    ]
    for reason, count in sorted(report.dropped.items()):
        bounds = metrics.intervals.clopper_pearson(count, report.found)
        share = count / report.found
        rows.append(row("dropped", share, report.found, bounds, reason=reason))
    per_item = [sum(map(len, item.captions.values())) for item in collection]
    words = caption_words(collection)
    speakers = np.repeat(collection.groups, [len(texts) for texts in collection.captions()])
    for metric, values, groups in (
        ("captions per item", per_item, collection.groups),
        ("words per caption", words, speakers),
    ):
        if len(values):
            bounds = metrics.intervals.bootstrap(np.array(values), seed=seed, groups=groups)
            rows.append(row(metric, np.mean(values), len(values), bounds))
    return rows


def listed(collection: data.Collection) -> pd.DataFrame:
    """What a contact sheet shows: name, label, category and first English caption of each item."""
    return pd.DataFrame(
        [
            (
                item.name,
                item.targets.get("class"),
                item.category,
                next(iter(item.captions.get("en", ())), None),
            )
            for item in collection
        ],
        columns=["name", "label", "category", "caption"],
    )


def caption_words(collection: data.Collection, language: str = "en") -> list[int]:
    """Words in each caption of a language, counted between spaces."""
    return [len(caption.split()) for texts in collection.captions(language) for caption in texts]


def overlaps(collections: list[data.Collection], distance: int) -> list[Measurement]:
    """How many pictures of one collection stand, nearly the same, in another.

    Args:
        collections: at least two.
        distance: bits of the 64-bit perceptual hash that may differ.

    Returns:
        For each ordered pair "near-duplicate pictures", the share of the first one's items that
        have one `within` the second, with its Clopper-Pearson interval, and "identical captions",
        the same for English ones.
    """
    rows = []
    for first, second in combinations(collections, 2):
        pairs = duplicates.overlap(first, second, distance)
        shared = _captions(first) & _captions(second)
        for one, other, side in ((first, second, 0), (second, first, 1)):
            same_text = sum(bool(_captions([item]) & shared) for item in one)
            for metric, count in (
                ("near-duplicate pictures", len({pair[side] for pair in pairs})),
                ("identical captions", same_text),
            ):
                low, high = metrics.intervals.clopper_pearson(count, len(one))
                rows.append(
                    Measurement(
                        model="none", data=one.name, metric=metric, value=count / len(one),
                        low=low, high=high, n=len(one), at={"within": other.name},
                    )
                )  # fmt: skip
    return rows


def _captions(items) -> set[str]:
    """English captions, folded to bare lower-case words."""
    return {
        " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
        for item in items
        for text in item.captions.get("en", ())
    }
