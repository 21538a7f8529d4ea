"""Languages of a collection, averages over them, and whether models agree on which are hard.

Recalls are records of `retrieval.evaluate`. Languages are compared by what they have above chance,
as those with fewer captions have fewer candidates; several seeds of a model are averaged first.
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
from towers.evaluation import comparisons
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
    enough = {}
    for language in collection.languages():
        said = [item.captions for item in collection if language in item.captions]
        texts = [text for of_item in said for text in of_item[language]]
        same = [text in of_item.get("en", ()) for of_item in said for text in of_item[language]]
        if len(texts) >= least and (language == "en" or np.mean(same) <= copied):
            enough[language] = texts
    if not enough:
        raise ValueError(
            f"expected a language with {least} captions in {collection.name}, got at most "
            f"{max(collection.languages().values(), default=0)}; lower least"
        )
    return enough


def evaluate(recalls: pd.DataFrame, seed: int = 0) -> list[Measurement]:
    """What the recalls of several languages come to.

    Args:
        recalls: records of "recall", each model on the same languages.
        seed: of the bootstrap.

    Returns:
        For each collection, `direction` and `k`, at `averaged` "languages": of each model "recall",
        the mean, beside the mean of chance, and at `reached` "lowest seed" and "highest seed" the
        means of single seeds that lie furthest apart; of each two models, under the first one's
        name, "recall gain" at `over` the other, the mean difference above chance. At the direction
        and k alone: "languages above chance", the share of languages in which the interval of every
        seed is; and "correlation of recalls" at `other`, Pearson's over languages. n languages.

    Raises:
        ValueError: fewer than three languages, or models with different ones.
    """
    rows = []
    for (name, direction, k), part in recalls.groupby(["data", "direction", "k"], sort=False):
        above = part.assign(above=part.low > part.chance, excess=part.value - part.chance)
        of = above.groupby(["language", "model"], sort=False)
        means = of[["value", "chance", "excess"]].mean().unstack()
        if means.isna().any(axis=None) or len(means) < LEAST:
            raise ValueError(
                f"expected the same {LEAST} languages or more for every model on {name}, got "
                f"{means.value.count().to_dict()}; evaluate each model on each language"
            )
        at = {"direction": direction, "k": int(k)}
        shared = {"data": name, "n": len(means), "seed": seed, "at": at}
        drawn = {"groups": families(means.index), "seed": seed}
        won = of.above.all().unstack().astype(float)
        over = shared | {"at": at | {"averaged": "languages"}}
        rows += _of_models(means, won, drawn, shared, over)
        rows += _of_seeds(part, over)
        rows += _of_pairs(means.excess, drawn, shared, over)
    return rows


def _of_models(
    means: pd.DataFrame, above: pd.DataFrame, drawn: dict, shared: dict, over: dict
) -> Iterator[Measurement]:
    for model in means.value:
        recalls, beats = means.value[model].to_numpy(), above[model].to_numpy()
        ends = metrics.intervals.proportion(recalls, **drawn)._asdict()
        level = float(means.chance[model].mean())
        yield Measurement(
            model=model, metric="recall", value=float(recalls.mean()), chance=level, **ends, **over
        )
        ends = metrics.intervals.proportion(beats, **drawn)._asdict()
        share = float(beats.mean())
        yield Measurement(
            model=model, metric="languages above chance", value=share, **ends, **shared
        )


def _of_seeds(part: pd.DataFrame, over: dict) -> Iterator[Measurement]:
    """The means over languages of the seeds that are furthest apart."""
    seeds = part.groupby(["model", "seed"], sort=False).value.mean()
    for model, means in seeds.groupby("model", sort=False):
        for reached, value in (("lowest seed", means.min()), ("highest seed", means.max())):
            at = over["at"] | {"reached": reached}
            yield Measurement(model=model, metric="recall", value=float(value), **over | {"at": at})


def _of_pairs(excess: pd.DataFrame, drawn: dict, shared: dict, over: dict) -> Iterator[Measurement]:
    of_gain = {name: over[name] for name in ("data", "at")} | {"metric": "recall"}
    for first, second in combinations(excess, 2):
        both = excess[[first, second]].to_numpy()
        yield comparisons.gain(both[:, 0], both[:, 1], model=first, over=second, **of_gain, **drawn)
        ends = metrics.intervals.bootstrap(both, _pearson, **drawn)._asdict()
        yield Measurement(
            model=first, metric="correlation of recalls", value=_pearson(both), **ends,
            **shared | {"at": shared["at"] | {"other": second}},
        )  # fmt: skip


def _pearson(pairs: Float[np.ndarray, "languages 2"]) -> float:
    return metrics.pearson(*pairs.T)
