"""Retrieval of a text's partner among other texts: what training on pairs of texts is to teach.

Source: Tschannen et al. 2023, section 4.1 ("Text/text data"): next-sentence prediction in the space
    of embeddings.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from towers import data, metrics, models
from towers.evaluation import embeds
from towers.models.features import Precision
from towers.records import Measurement

DIRECTION = "text to text"


def translations(
    collection: data.Collection, language: str, original: str = "en"
) -> list[tuple[str, str]]:
    """What is said about each picture in two languages: the first caption in each.

    Args:
        collection: pictures without a caption in both are left out.
        language: of the second text, in any spelling.
        original: of the first text.
    """
    sides = zip(collection.captions(original), collection.captions(language), strict=True)
    return [(ours[0], theirs[0]) for ours, theirs in sides if ours and theirs]


def evaluate(
    dual: models.DualTower | models.TextTower,
    pairs: Sequence[tuple[str, str]],
    *,
    name: str,
    language: str = "",
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
    dtype: Precision | None = None,
) -> list[Measurement]:
    """Recall at k of each text's partner, both ways together.

    Args:
        dual: whose text tower is asked, or a text tower by itself; features are cached.
        pairs: at least two; every second text is a candidate for every first one, and the other
            way round. Where a partner's words stand in several pairs, any of them is right.
        name: of the data.
        language: of the second texts, where they are translations.
        ks: how many of the best candidates count.
        seed: of the run, and of the bootstrap.
        dtype: in which the tower computes features, as for `models.features`.

    Returns:
        For each k "recall" beside its exact chance, with a 95 % bootstrap interval clustered by
        pair; at `direction` "text to text", `k` and `language`.

    Raises:
        ValueError: fewer than two pairs.
    """
    found, counts = _found(dual, pairs, ks, dtype)
    shared = {"model": dual.name, "data": name, "seed": seed, "n": len(pairs)}
    chance = metrics.chance_at_k(counts, len(pairs), ks)
    said = {"direction": DIRECTION} | ({"language": language} if language else {})
    rows = []
    for k in ks:
        low, high = metrics.intervals.bootstrap(found[k], seed=seed)
        rows.append(
            Measurement(metric="recall", value=float(found[k].mean()), low=low, high=high,
                        chance=chance[k], at=said | {"k": k}, **shared)
        )  # fmt: skip
    return rows


def hits(
    dual: models.DualTower | models.TextTower,
    pairs: Sequence[tuple[str, str]],
    *,
    k: int = 10,
    dtype: Precision | None = None,
) -> Float[np.ndarray, " pairs"]:
    """What `evaluate` averages, pair by pair: for comparisons on the same pairs.

    Args:
        dual: as for `evaluate`.
        pairs: as for `evaluate`.
        k: how many of the best candidates count.
        dtype: as for `evaluate`.

    Returns:
        For each pair the mean of both ways, in [0, 1].

    Raises:
        ValueError: as `evaluate`.
    """
    return _found(dual, pairs, [k], dtype)[0][k]


def _found(
    dual: models.DualTower | models.TextTower,
    pairs: Sequence[tuple[str, str]],
    ks: Sequence[int],
    dtype: Precision | None,
) -> tuple[dict[int, Float[np.ndarray, " pairs"]], list[int]]:
    """For each k the hits of each pair, both ways averaged; the right candidates of each query."""
    embeds.check(dual, ks=ks)
    if len(pairs) < 2:
        raise ValueError(f"expected at least 2 pairs of texts, got {len(pairs)}")
    firsts, seconds = (np.array(side, dtype=object) for side in zip(*pairs, strict=True))
    one, two = (embeds.of_texts(dual, side.tolist(), dtype) for side in (firsts, seconds))
    right = seconds[:, None] == seconds[None, :]
    left = firsts[:, None] == firsts[None, :]
    there = metrics.hits_at_k(one @ two.T, right, ks)
    back = metrics.hits_at_k(two @ one.T, left, ks)
    return {k: (there[k] + back[k]) / 2 for k in ks}, [*right.sum(1), *left.sum(1)]
