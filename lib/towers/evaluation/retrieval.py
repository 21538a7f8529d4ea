"""Retrieval in both directions between the pictures of a collection and their captions.

Text retrieval asks with a picture for its captions, image retrieval with a caption for its
picture. A picture may have several captions: each is a candidate, and finding any one is a hit;
each is also a query of its own, and intervals resample whole pictures, near duplicates together.

Source: Radford et al. 2021, appendix E.1 and Table 13.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from towers import data, metrics, models
from towers.data.languages import language_code
from towers.evaluation import embeds
from towers.models.features import Precision
from towers.records import Measurement

DIRECTIONS = ("text retrieval", "image retrieval")
ROWS = 1024  # queries scored at a time


@dataclass(frozen=True)
class Neighbours:
    """What one query found.

    Attributes:
        item: index in the collection of the query's picture.
        text: the query's caption, for image retrieval; None for text retrieval.
        items: indices of the found pictures (of the pictures that the found captions belong to).
        texts: the found captions; for image retrieval the first caption of each found picture.
        sims: cosine similarities, highest first.
        right: whether each one belongs to the query's picture.
    """

    item: int
    text: str | None
    items: tuple[int, ...]
    texts: tuple[str, ...]
    sims: tuple[float, ...]
    right: tuple[bool, ...]


def evaluate(
    dual: models.DualTower,
    collection: data.Collection,
    *,
    language: str = "en",
    ks: Sequence[int] = (1, 5, 10),
    prompt: str = "",
    seed: int = 0,
    dtype: Precision | None = None,
) -> list[Measurement]:
    """Recall at k of both directions, beside chance.

    Args:
        dual: both towers' features are cached, so that another language costs its new texts only.
        collection: pictures without a caption in `language` are left out, as query and candidate.
        language: of the captions, in any spelling; records have that of `language_code`.
        ks: how many of the best candidates count.
        prompt: put before each caption with a space; the paper uses "a photo of".
        seed: of the bootstrap.
        dtype: in which the towers compute features, as for `models.features`.

    Returns:
        For each direction ("text retrieval" or "image retrieval") and k, "recall" beside its exact
        chance, with a 95 % bootstrap interval clustered by `Item.group`, so by picture at least
        (`metrics.intervals.proportion`), and n queries; and for each direction "candidates", their
        number. They are measured at `direction`, `language`, `k` and, where there is one, `prompt`.
        Captions with the same words tie exactly, and ties count as expected under a random order.

    Raises:
        ValueError: fewer than two pictures have a caption in `language`.
    """
    pairs = _Pairs(dual, collection, language, prompt, dtype, ks)
    said = {"language": language_code(language) or language} | (
        {"prompt": prompt} if prompt else {}
    )
    shared = {"model": dual.name, "data": collection.name, "seed": seed}
    rows = []
    for direction in DIRECTIONS:
        positives, pictures, candidates = pairs.sides(direction)
        groups = collection.groups[pairs.items[pictures]]
        hit = pairs.hits(direction, ks)
        chance = metrics.chance_at_k([len(right) for right in positives], candidates, ks)
        shared |= {"n": len(positives), "at": {"direction": direction} | said}
        rows.append(Measurement(metric="candidates", value=candidates, **shared))
        for k in ks:
            low, high = metrics.intervals.proportion(hit[k], seed=seed, groups=groups)
            value, at = float(hit[k].mean()), shared["at"] | {"k": k}
            rows.append(
                Measurement(metric="recall", value=value, low=low, high=high, chance=chance[k],
                            **shared | {"at": at})
            )  # fmt: skip
    return rows


def hits(
    dual: models.DualTower,
    collection: data.Collection,
    *,
    language: str = "en",
    k: int = 10,
    dtype: Precision | None = None,
) -> pd.DataFrame:
    """What `evaluate` averages, query by query: for comparisons on the same pictures.

    Args:
        dual: as for `evaluate`.
        collection: as for `evaluate`.
        language: of the captions.
        k: how many of the best candidates count.
        dtype: as for `evaluate`.

    Returns:
        One row a query: `model`, `metric` ("recall"), `direction`, `k` and `language` (as it was
        given), `item` (index in the collection of the query's picture), `group` of near duplicates
        that it belongs to, `hit`, in [0, 1], and `chance` of one.

    Raises:
        ValueError: as `evaluate`.
    """
    pairs = _Pairs(dual, collection, language, "", dtype, [k])
    parts = []
    for direction in DIRECTIONS:
        positives, pictures, candidates = pairs.sides(direction)
        items = pairs.items[pictures]
        counts = [len(right) for right in positives]
        parts.append(
            pd.DataFrame({
                "model": dual.name, "metric": "recall", "direction": direction, "k": k,
                "language": language, "item": items, "group": collection.groups[items],
                "hit": pairs.hits(direction, [k])[k],
                "chance": metrics.chance_at_k(counts, candidates, [k])[k],
            })
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def neighbours(
    dual: models.DualTower,
    collection: data.Collection,
    *,
    direction: str = "image retrieval",
    queries: int = 6,
    k: int = 5,
    seed: int = 0,
    dtype: Precision | None = None,
) -> list[Neighbours]:
    """The nearest candidates of some queries in English, drawn at random: for a gallery.

    Args:
        dual: as for `evaluate`.
        collection: asked and searched.
        direction: "image retrieval" (caption -> pictures) or "text retrieval".
        queries: how many, at most; without replacement.
        k: how many candidates each, at most. Equal similarities come in the collection's order.
        seed: of the draw.
        dtype: in which the towers compute features, as for `models.features`.

    Raises:
        ValueError: an unknown direction, or as `evaluate`.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"expected a direction of {DIRECTIONS}, got {direction!r}")
    pairs = _Pairs(dual, collection, "en", "", dtype)
    total = len(pairs.sides(direction)[0])
    chosen = np.random.default_rng(seed).permutation(total)[:queries]
    return [pairs.found(direction, int(query), k) for query in chosen]


class _Pairs:
    """Embeddings of the captioned pictures and of their captions, and which belong together."""

    def __init__(
        self,
        dual: models.DualTower,
        collection: data.Collection,
        language: str,
        prompt: str,
        dtype: Precision | None,
        ks: Sequence[int] = (1,),
    ):
        embeds.check(dual, collection, ks=ks)
        captions = collection.captions(language)
        self.items = np.array([i for i, texts in enumerate(captions) if texts], dtype=int)
        if len(self.items) < 2:
            raise ValueError(
                f"expected at least 2 pictures with captions in {language!r} in "
                f"{collection.name}, got {len(self.items)}; it has {sorted(collection.languages())}"
            )
        self.texts = [text for i in self.items for text in captions[i]]
        counts = [len(captions[i]) for i in self.items]
        self.picture_of = np.repeat(np.arange(len(self.items)), counts)
        self.texts_of = np.split(np.arange(len(self.texts)), np.cumsum(counts)[:-1])
        prompted = [f"{prompt} {text}" if prompt else text for text in self.texts]
        distinct, self.distinct_of = np.unique(prompted, return_inverse=True)
        self.text_embeds = embeds.of_texts(dual, distinct.tolist(), dtype)
        self.image_embeds = embeds.of_images(dual, collection, dtype)[self.items]

    def sides(self, direction: str) -> tuple[list[np.ndarray], Int[np.ndarray, " queries"], int]:
        """Per query its right candidates and its picture; and the number of candidates."""
        if direction == "text retrieval":
            return self.texts_of, np.arange(len(self.items)), len(self.texts)
        return (
            [self.picture_of[i : i + 1] for i in range(len(self.texts))],
            self.picture_of,
            len(self.items),
        )

    def sims(self, direction: str) -> Iterator[tuple[int, Float[np.ndarray, "queries candidates"]]]:
        """Tiles of similarities with the number of their first query.

        A text is scored once however many pictures it describes, so that equal texts tie exactly.
        """
        queries = len(self.sides(direction)[0])
        for first in range(0, queries, ROWS):
            yield first, self._scores(direction, slice(first, first + ROWS))

    def hits(self, direction: str, ks: Sequence[int]) -> dict[int, Float[np.ndarray, " queries"]]:
        """For each k, whether each query is answered among the k best candidates."""
        positives = self.sides(direction)[0]
        tiles = [
            metrics.hits_at_k(sims, positives[first : first + len(sims)], ks)
            for first, sims in self.sims(direction)
        ]
        return {k: np.concatenate([tile[k] for tile in tiles]) for k in ks}

    def found(self, direction: str, query: int, k: int) -> Neighbours:
        """The k nearest candidates of one query."""
        sims = self._scores(direction, slice(query, query + 1))[0]
        best = np.argsort(-sims, kind="stable")[:k]
        right, pictures, _ = self.sides(direction)
        of_text = direction == "text retrieval"
        owners = self.picture_of[best] if of_text else best
        shown = best if of_text else [self.texts_of[picture][0] for picture in best]
        return Neighbours(
            item=int(self.items[pictures[query]]),
            text=None if of_text else self.texts[query],
            items=tuple(int(self.items[picture]) for picture in owners),
            texts=tuple(self.texts[text] for text in shown),
            sims=tuple(float(sim) for sim in sims[best]),
            right=tuple(bool(candidate in right[query]) for candidate in best),
        )

    def _scores(self, direction: str, queries: slice) -> np.ndarray:
        if direction == "text retrieval":
            return (self.image_embeds[queries] @ self.text_embeds.T)[:, self.distinct_of]
        return self.text_embeds[self.distinct_of[queries]] @ self.image_embeds.T


def listed(found: Sequence[Neighbours], collection: data.Collection) -> pd.DataFrame:
    """What a gallery of neighbours shows, one row a neighbour.

    Args:
        found: as `neighbours` gives it.
        collection: that was asked.

    Returns:
        Columns query (the caption, or the picture's name), rank (from 1), name, sim, right.
    """
    return pd.DataFrame(
        [
            (one.text or collection[one.item].name, rank, collection[item].name, sim, right)
            for one in found
            for rank, (item, sim, right) in enumerate(
                zip(one.items, one.sims, one.right, strict=True), 1
            )
        ],
        columns=["query", "rank", "name", "sim", "right"],
    )
