"""The arithmetic behind `tiled_clip_loss` and `sharded_clip_loss`, which never hold all logits.

Sums and gradients of both softmaxes are built up tile by tile. Logits are in bits (base 2), since
exponentials of two are the fast ones: queries are image embeddings times logit_scale times `BITS`,
keys are text embeddings.

Source: Radford et al. 2021, Fig. 3; running maxima as in Milakov & Gimelshein 2018.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

BITS = 1 / math.log(2)
"""Bits per nat."""


@dataclass
class Sums:
    """Denominators of the softmaxes over the rows and over the columns of a block of logits.

    A sum is over 2 ** (logit - peak). If `reference_for` gives one number that can be all peaks, a
    single exponential per entry serves rows and columns, and no maximum is needed.

    Attributes:
        reference: that number, or None where each row and column keeps its own maximum.
        offset: row i's own pair is in column i + offset.
        row_peaks: maximum so far of each row, or the reference.
        row_sums: sum so far of each row.
        column_peaks: the same of each column.
        column_sums: the same of each column.
        positives: logit of each row's own pair.
    """

    reference: float | None
    offset: int
    row_peaks: Float[Tensor, " rows"]
    row_sums: Float[Tensor, " rows"]
    column_peaks: Float[Tensor, " columns"]
    column_sums: Float[Tensor, " columns"]
    positives: Float[Tensor, " rows"]

    @classmethod
    def empty(
        cls,
        queries: Float[Tensor, "rows embed"],
        columns: int,
        reference: float | None,
        offset: int = 0,
    ) -> "Sums":
        """Sums of nothing, for all `queries` against so many `columns`."""
        start = -math.inf if reference is None else reference
        row_peaks, column_peaks = (queries.new_full((n,), start) for n in (len(queries), columns))
        row_sums, column_sums = torch.zeros_like(row_peaks), torch.zeros_like(column_peaks)
        positives = torch.zeros_like(row_peaks)
        return cls(reference, offset, row_peaks, row_sums, column_peaks, column_sums, positives)

    def add(self, queries: Tensor, keys: Tensor, tile: int, first: int = 0) -> None:
        """Add the terms of all queries against keys, which are the columns from `first` on."""
        for rows, columns, logits in _tiles(queries, keys, tile):
            place = slice(first + columns.start, first + columns.stop)
            ahead = rows.start + self.offset - place.start
            pairs = logits.diagonal(ahead)
            self.positives[rows][max(0, -ahead) :][: len(pairs)] = pairs
            if self.reference is None:
                _run(self.row_peaks[rows], self.row_sums[rows], logits, dim=1)
                _run(self.column_peaks[place], self.column_sums[place], logits, dim=0)
            else:
                terms = _powers(logits, self.reference)
                self.row_sums[rows] += terms.sum(1)
                self.column_sums[place] += terms.sum(0)

    def nats(self) -> Float[Tensor, ""]:
        """The summed losses of all rows and of their pairs' columns; the sums must be complete."""
        pairs = slice(self.offset, self.offset + len(self.positives))
        bits = _bits(self.row_sums, self.row_peaks, self.positives)
        bits += _bits(self.column_sums[pairs], self.column_peaks[pairs], self.positives)
        return bits.sum() / BITS

    def errors(
        self, queries: Tensor, keys: Tensor, tile: int, first: int
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Tiles of the two softmaxes' sum, less 2 at the pairs: how `nats` depends on each logit.

        Arguments as for `add`. Each tile comes with its rows among queries and its columns among
        keys, and holds until the next one is asked for.
        """
        per_row, per_column = self.row_sums.reciprocal(), self.column_sums.reciprocal()
        room = _room(queries, keys, tile)
        for rows, columns, logits in _tiles(queries, keys, tile):
            place = slice(first + columns.start, first + columns.stop)
            weights = room[: logits.numel()].view_as(logits)
            if self.reference is None:
                torch.sub(logits, self.row_peaks[rows, None], out=weights)
                weights.exp2_().mul_(per_row[rows, None])
                logits.sub_(self.column_peaks[place]).exp2_().mul_(per_column[place]).add_(weights)
            else:
                torch.add(per_row[rows, None], per_column[place], out=weights)
                _powers(logits, self.reference).mul_(weights)
            logits.diagonal(rows.start + self.offset - place.start).sub_(2)
            yield rows, columns, logits

    def pull(
        self,
        queries: Tensor,
        keys: Tensor,
        tile: int,
        on_queries: Float[Tensor, "rows embed"] | None,
        on_keys: Float[Tensor, "columns embed"] | None,
        first: int = 0,
    ) -> None:
        """Add `errors` times keys to `on_queries`, their transpose times queries to `on_keys`."""
        for rows, columns, errors in self.errors(queries, keys, tile, first):
            if on_queries is not None:
                on_queries[rows].addmm_(errors, keys[columns])
            if on_keys is not None:
                on_keys[columns].addmm_(errors.T, queries[rows])


def bounds(
    queries: Float[Tensor, "pairs embed"], keys: Float[Tensor, "pairs embed"]
) -> Float[Tensor, "3"]:
    """The largest norms of queries and of keys, and the lowest logit of a pair, negated."""
    norms = (torch.linalg.vector_norm(part, dim=1).max() for part in (queries, keys))
    return torch.stack([*norms, -(queries * keys).sum(1).min()])


def reference_for(longest: Float[Tensor, "3"]) -> float | None:
    """One number to take off every logit so that no sum overflows and no pair's term vanishes.

    Each sum holds the term of its own pair: pairs within range keep all sums within range. With
    unit-norm float32 embeddings that is every batch up to a scale of 55, and at 100 every batch
    whose pairs have cosines above -0.2.

    Args:
        longest: `bounds`, maxima over all parts of the batch. An accelerator waits here.

    Returns:
        The number, in bits; None where there is none, as for logits that are not finite.
    """
    exponents = math.frexp(torch.finfo(longest.dtype).max)[1]  # float32: 2 ** 128 is too large
    query, key, lowest = longest.tolist()
    reference = max(0.0, query * key - 0.75 * exponents)  # leaves room for 2 ** 32 terms
    return reference if -lowest - reference >= -0.625 * exponents else None


def refuse_second_derivative() -> None:
    """Call it in `backward`, where gradients are enabled only on the way to a second derivative.

    Raises:
        RuntimeError: gradients are enabled.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "expected a first derivative only, got create_graph=True; use clip_loss for a second"
        )


def _room(queries: Tensor, keys: Tensor, tile: int) -> Tensor:
    """Memory for one tile."""
    return queries.new_empty(min(tile, len(queries)) * min(tile, len(keys)))


def _tiles(queries: Tensor, keys: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and logits of each tile, all in the same memory.

    Products into given memory, here and in `Sums.pull`, keep their dtype under autocast.
    """
    room = _room(queries, keys, tile)
    for top in range(0, len(queries), tile):
        rows = slice(top, min(top + tile, len(queries)))
        for left in range(0, len(keys), tile):
            columns = slice(left, min(left + tile, len(keys)))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            logits = room[: shape[0] * shape[1]].view(shape)
            yield rows, columns, torch.mm(queries[rows], keys[columns].T, out=logits)


def _powers(logits: Tensor, reference: float) -> Tensor:
    """2 ** (logits - reference), in place."""
    return (logits.sub_(reference) if reference else logits).exp2_()


def _bits(sums: Tensor, peaks: Tensor, positives: Tensor) -> Tensor:
    """log2(sum / term of the pair): -log2 of the probability that the softmax gives the pair.

    The quotient keeps the digits of small losses, the difference of logarithms cannot overflow.
    """
    quotients = sums / torch.exp2(positives - peaks)
    return torch.where(quotients < 2**16, quotients.log2(), sums.log2() + (peaks - positives))


def _run(peaks: Tensor, sums: Tensor, logits: Tensor, dim: int) -> None:
    """Add a tile's terms to running maxima and to the sums that are relative to them, in place."""
    tops = torch.maximum(peaks, logits.amax(dim))
    sums.mul_(torch.exp2(peaks - tops)).add_(torch.exp2(logits - tops.unsqueeze(dim)).sum(dim))
    peaks.copy_(tops)
