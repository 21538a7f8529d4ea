"""Retrieval by language: averages over languages, and whether models agree on which are hard.

Rows are those of `retrieval.recalls`. Languages are compared by what recall has above chance, as
languages with fewer captions have fewer candidates; several seeds of a model are averaged first.
Intervals are 95 % bootstraps over languages, variants of one together, such as "pt" and "pt_BR":
they say how far a result depends on the languages, and nothing about other pictures or seeds.

Source: Tschannen et al. 2023, section 4.4 and appendix C.4 (Fig. 3 and 8).
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from towers import metrics
from towers.evaluation.sequences import families
from towers.records import Measurement

LEAST = 3
"""Languages that a correlation needs."""


def evaluate(recalls: pd.DataFrame, seed: int = 0) -> list[Measurement]:
    """What the recalls of several languages come to.

    Args:
        recalls: rows of `retrieval.recalls`, each model on the same languages.
        seed: of the bootstrap.

    Returns:
        For each collection, direction and k, say "text retrieval R@1". For each model "text
        retrieval R@1 over languages", the mean, and "text retrieval R@1 languages above chance",
        the share of languages in which the interval of every seed is. For each two models, under
        the first one's name, "text retrieval R@1 gain over OTHER", the mean difference, and
        "text retrieval R@1 correlation with OTHER", Pearson's over languages. n languages.

    Raises:
        ValueError: fewer than three languages, or models with different ones.
    """
    rows = []
    for (data, direction, k), part in _tasks(recalls):
        above = part.assign(above=part.low > part.chance, excess=part.value - part.chance)
        of = above.groupby(["language", "model"], sort=False)
        means = of[["value", "excess"]].mean().unstack()
        if means.isna().any(axis=None) or len(means) < LEAST:
            raise ValueError(
                f"expected the same {LEAST} languages or more for every model on {data}, got "
                f"{means.value.count().to_dict()}; evaluate each model on each language"
            )
        drawn = {"groups": families(means.index), "seed": seed}
        shared = {"data": data, "n": len(means), "seed": seed}
        won = of.above.all().unstack().astype(float)
        measured = (*_of_models(means.value, won, drawn), *_of_pairs(means.excess, drawn))
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
    values: pd.DataFrame, above: pd.DataFrame, drawn: dict
) -> Iterator[tuple[str, str, float, metrics.intervals.Interval]]:
    for model in values:
        own, beats = values[model].to_numpy(), above[model].to_numpy()
        yield model, "over languages", own.mean(), metrics.intervals.proportion(own, **drawn)
        ends = metrics.intervals.proportion(beats, **drawn)
        yield model, "languages above chance", beats.mean(), ends


def _of_pairs(
    excess: pd.DataFrame, drawn: dict
) -> Iterator[tuple[str, str, float, metrics.intervals.Interval]]:
    for first, second in combinations(excess, 2):
        both = excess[[first, second]].to_numpy()
        ends = metrics.intervals.paired_difference(both[:, 0], both[:, 1], **drawn)
        yield first, f"gain over {second}", (both[:, 0] - both[:, 1]).mean(), ends
        ends = metrics.intervals.bootstrap(both, agreement, **drawn)
        yield first, f"correlation with {second}", agreement(both), ends
