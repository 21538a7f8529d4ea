"""Languages of a collection, averages over them, and whether models agree on which are hard.

Recalls are rows of `retrieval.recalls`. Languages are compared by what they have above chance, as
those with fewer captions have fewer candidates; several seeds of a model are averaged first.
Intervals are 95 % bootstraps over languages, variants of one together, such as "pt" and "pt_BR":
they say how far a result depends on the languages, and nothing about other pictures or seeds.

Source: Tschannen et al. 2023, section 4.4 and appendix C.4 (Fig. 3 and 8).
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from towers import data, metrics
from towers.evaluation.sequences import families
from towers.records import Measurement

LEAST = 3
"""Languages that a correlation needs."""


def captions(
    collection: data.Collection, least: int = 100, copied: float = 0.5
) -> dict[str, list[str]]:
    """All captions of each language that has enough of its own.

    Args:
        collection: with English among its captions.
        least: captions that a language must have.
        copied: share of its captions, at most, that are the item's English ones letter by letter:
            what nobody has translated, or a variant that differs in a few words.

    Raises:
        ValueError: no language has as many.
    """
    found = {}
    for language in collection.languages():
        said = [item.captions for item in collection if language in item.captions]
        own = [text for of_item in said for text in of_item[language]]
        same = [text in of_item.get("en", ()) for of_item in said for text in of_item[language]]
        if len(own) >= least and (language == "en" or np.mean(same) <= copied):
            found[language] = own
    if not found:
        raise ValueError(
            f"expected a language with {least} captions in {collection.name}, got at most "
            f"{max(collection.languages().values(), default=0)}; lower least"
        )
    return found


def evaluate(recalls: pd.DataFrame, seed: int = 0) -> list[Measurement]:
    """What the recalls of several languages come to.

    Args:
        recalls: rows of `retrieval.recalls`, each model on the same languages.
        seed: of the bootstrap.

    Returns:
        For each collection, direction and k, say "text retrieval R@1". For each model "text
        retrieval R@1 over languages", the mean, "text retrieval R@1 chance over languages", "text
        retrieval R@1 languages above chance", the share of languages in which the interval of every
        seed is, and "text retrieval R@1 over languages, lowest seed" with "highest seed" beside it,
        the means of single seeds that lie furthest apart. For each two models, under the first
        one's name, "text retrieval R@1 gain over OTHER", the mean difference, and "text retrieval
        R@1 correlation with OTHER", Pearson's over languages. n languages.

    Raises:
        ValueError: fewer than three languages, or models with different ones.
    """
    rows = []
    for (collection, direction, k), part in _tasks(recalls):
        above = part.assign(above=part.low > part.chance, excess=part.value - part.chance)
        of = above.groupby(["language", "model"], sort=False)
        means = of[["value", "chance", "excess"]].mean().unstack()
        if means.isna().any(axis=None) or len(means) < LEAST:
            raise ValueError(
                f"expected the same {LEAST} languages or more for every model on {collection}, got "
                f"{means.value.count().to_dict()}; evaluate each model on each language"
            )
        drawn = {"groups": families(means.index), "seed": seed}
        shared = {"data": collection, "n": len(means), "seed": seed}
        won = of.above.all().unstack().astype(float)
        measured = (
            *_of_models(means, won, drawn), *_of_seeds(part), *_of_pairs(means.excess, drawn)
        )  # fmt: skip
        for model, metric, value, (low, high) in measured:
            ends = {"value": float(value), "low": low, "high": high}
            metric = f"{direction} R@{k} {metric}"
            rows.append(Measurement(model=model, metric=metric, **ends, **shared))
    return rows


def agreement(pairs: Float[np.ndarray, "languages 2"]) -> float:
    """Pearson's correlation of two columns; 0 where one of them does not vary."""
    spread = pairs - pairs.mean(axis=0)
    norms = np.linalg.norm(spread, axis=0)
    if min(norms) <= np.finfo(float).eps * np.abs(pairs).max():
        return 0.0
    return float(np.clip(spread[:, 0] @ spread[:, 1] / norms.prod(), -1, 1))


def _tasks(recalls: pd.DataFrame) -> Iterator[tuple[tuple[str, str, int], pd.DataFrame]]:
    """Rows of one collection, direction and k."""
    own = [
        data.removesuffix(f":{language}")
        for data, language in zip(recalls.data, recalls.language, strict=True)
    ]
    yield from recalls.assign(collection=own).groupby(["collection", "direction", "k"], sort=False)


def _of_models(
    means: pd.DataFrame, above: pd.DataFrame, drawn: dict
) -> Iterator[tuple[str, str, float, metrics.intervals.Interval | tuple[None, None]]]:
    for model in means.value:
        own, beats = means.value[model].to_numpy(), above[model].to_numpy()
        yield model, "over languages", own.mean(), metrics.intervals.proportion(own, **drawn)
        yield model, "chance over languages", means.chance[model].mean(), (None, None)
        ends = metrics.intervals.proportion(beats, **drawn)
        yield model, "languages above chance", beats.mean(), ends


def _of_seeds(part: pd.DataFrame) -> Iterator[tuple[str, str, float, tuple[None, None]]]:
    """The means over languages of the seeds that are furthest apart."""
    seeds = part.groupby(["model", "seed"], sort=False).value.mean()
    for model, own in seeds.groupby("model", sort=False):
        yield model, "over languages, lowest seed", own.min(), (None, None)
        yield model, "over languages, highest seed", own.max(), (None, None)


def _of_pairs(
    excess: pd.DataFrame, drawn: dict
) -> Iterator[tuple[str, str, float, metrics.intervals.Interval]]:
    for first, second in combinations(excess, 2):
        both = excess[[first, second]].to_numpy()
        ends = metrics.intervals.paired_difference(both[:, 0], both[:, 1], **drawn)
        yield first, f"gain over {second}", (both[:, 0] - both[:, 1]).mean(), ends
        ends = metrics.intervals.bootstrap(both, agreement, **drawn)
        yield first, f"correlation with {second}", agreement(both), ends
