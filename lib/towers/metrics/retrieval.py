"""Recall at k with several positives per query and exact treatment of ties.

A query is hit at k when at least one of its positives is among its k best candidates. Where
candidates tie, each order of the tied ones is equally likely, and a hit becomes the probability of
a hit: a constant score therefore measures exactly chance, never 0 or 1 by accident of sorting.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

TILE = 1 << 22  # scores per tile: 16 MB of float32, so that a row is still in cache when counted

Positives = (
    Sequence[Sequence[int]]
    | Sequence[int]
    | Int[np.ndarray, "..."]
    | Bool[np.ndarray, "queries candidates"]
)


def hits_at_k(
    sims: Float[np.ndarray, "queries candidates"], positives: Positives, ks: Sequence[int]
) -> dict[int, Float[np.ndarray, " queries"]]:
    """Per query, the probability that a positive is among the k best candidates.

    No row is sorted: with g candidates strictly above the best positive, t candidates equal to it
    and p positives among those t, the query is hit at k with probability
    1 - C(t - p, k - g) / C(t, k - g), which is 0 for k <= g and 1 for k >= g + t.

    Args:
        sims: higher is better; infinities are ordered like any other value.
        positives: which candidates are right: one list of candidate indices per query, or one
            index per query, or a boolean matrix shaped like `sims`.
        ks: how many of the best candidates count, each at least 1; from the number of candidates
            on, every query is hit.

    Returns:
        For each k, one value in [0, 1] per query: 0 or 1 unless the best positive ties with a
        candidate that is none.

    Ties: expectation under a uniformly random order of tied candidates.

    Raises:
        ValueError: `sims` is empty, not a matrix, or holds NaN; a query has no positive; an index
            is out of range; a k is below 1.
    """
    sims = np.asarray(sims)
    if sims.ndim != 2 or 0 in sims.shape:
        raise ValueError(f"expected sims of queries x candidates, none of them 0; got {sims.shape}")
    bad = [k for k in ks if k < 1]
    if bad or not len(ks):
        raise ValueError(f"expected at least one k, each 1 or more; got {list(ks)}")
    indices, counts = _positive_indices(positives, *sims.shape)
    above, tied, right = _counts_around_best(sims, indices, counts)
    return {int(k): 1.0 - _all_missed(above, tied, right, int(k)) for k in ks}


def recall_at_k(
    sims: Float[np.ndarray, "queries candidates"], positives: Positives, ks: Sequence[int]
) -> dict[int, float]:
    """The share of queries that find a positive among their k best candidates.

    The mean of `hits_at_k`, whose arguments, tie policy and errors it shares; 1 - it is the share
    of queries that miss. This is the "any positive" recall of the image-text literature.
    """
    return {k: float(hits.mean()) for k, hits in hits_at_k(sims, positives, ks).items()}


def chance_at_k(
    positives: Sequence[int] | Int[np.ndarray, " queries"], candidates: int, ks: Sequence[int]
) -> dict[int, float]:
    """Recall at k of a uniformly random order of the candidates, exactly.

    Args:
        positives: how many positives each query has, each from 1 to `candidates`.
        candidates: how many candidates are ranked.
        ks: as for `hits_at_k`.

    Returns:
        For each k, the mean over queries of 1 - C(n - p, k) / C(n, k); k / n for one positive.

    Raises:
        ValueError: a count is out of range, or there is no query.
    """
    right = np.asarray(positives, dtype=np.int64).ravel()
    if not right.size or right.min() < 1 or right.max() > candidates:
        raise ValueError(
            f"expected 1 to {candidates} positives for each query; "
            f"got {'no query' if not right.size else f'{right.min()} to {right.max()}'}"
        )
    above, tied = np.zeros_like(right), np.full_like(right, candidates)
    return {int(k): float((1.0 - _all_missed(above, tied, right, int(k))).mean()) for k in ks}


def _counts_around_best(
    sims: np.ndarray, indices: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per query: candidates above its best positive, level with it, and positives level with it."""
    queries, candidates = sims.shape
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    scores = sims[np.repeat(np.arange(queries), counts), indices]
    best = np.maximum.reduceat(scores, starts)
    right = np.add.reduceat((scores == np.repeat(best, counts)).astype(np.int64), starts)
    above, level = np.empty(queries, np.int64), np.empty(queries, np.int64)
    step = max(1, TILE // candidates)
    for first in range(0, queries, step):
        tile = np.ascontiguousarray(sims[first : first + step])
        if np.isnan(tile.min()):  # the minimum of an array that holds NaN is NaN
            raise ValueError("expected sims without NaN, got at least one; check the embeddings")
        for row, values in enumerate(tile, start=first):
            above[row] = np.count_nonzero(values > best[row])
            level[row] = np.count_nonzero(values == best[row])
    return above, level, right


def _all_missed(above: np.ndarray, tied: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Probability that none of the `right` ones of `tied` places fills the places up to k."""
    drawn = np.clip(k - above, 0, tied)
    few, many = np.minimum(drawn, right), np.maximum(drawn, right)
    missed = np.ones(len(above))
    for i in range(int(few.max())):  # C(t-p, m) / C(t, m), a product of min(m, p) fractions
        factor = np.maximum(tied - many - i, 0) / np.maximum(tied - i, 1)
        missed *= np.where(i < few, factor, 1.0)
    return missed


def _positive_indices(
    positives: Positives, queries: int, candidates: int
) -> tuple[np.ndarray, np.ndarray]:
    """All positives' candidate indices, query after query without repeats, and their counts."""
    if len(positives) != queries:
        raise ValueError(f"expected positives for {queries} queries, got {len(positives)}")
    if getattr(positives, "dtype", None) is not None or np.isscalar(positives[0]):
        array = np.asarray(positives)
        if array.dtype == bool:
            if array.shape != (queries, candidates):
                raise ValueError(
                    f"expected boolean positives shaped {(queries, candidates)}, got {array.shape}"
                )
            rows, indices = np.nonzero(array)
            return indices, _no_query_empty(np.bincount(rows, minlength=queries))
        positives = array.reshape(queries, -1)
    rows = [np.unique(np.asarray(row)) for row in positives]
    counts = _no_query_empty(np.array([len(row) for row in rows]))
    indices = np.concatenate(rows)
    if indices.dtype.kind not in "iu":
        raise ValueError(f"expected positives as integer indices, got {indices.dtype}")
    if indices.min() < 0 or indices.max() >= candidates:
        raise ValueError(
            f"expected positives from 0 to {candidates - 1}, got {indices.min()} to {indices.max()}"
        )
    return indices, counts


def _no_query_empty(counts: np.ndarray) -> np.ndarray:
    """The counts, unless a query has no positive and could never be hit."""
    if not counts.all():
        raise ValueError(
            f"expected a positive for every query, got none for query {int(np.argmin(counts))}; "
            "drop such queries first"
        )
    return counts
