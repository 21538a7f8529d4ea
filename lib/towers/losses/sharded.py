"""The contrastive loss of a batch that is split over the processes of a group.

Every rank keeps its images. The texts come from one rank after the other, so that a rank works on
tiles of its rows of the logits only, and the memory it needs falls as one over the number of ranks.

Source: Radford et al. 2021, section 2.5 (each GPU computes the similarities of its own batch).
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

from towers.losses.blocks import (
    BITS,
    Sums,
    bounds,
    reference_for,
    refuse_second_derivative,
)
from towers.losses.contrastive import check, computing_dtype
from towers.losses.tiled import check_tile, gradients, tiled_clip_loss


def sharded_clip_loss(
    image_embeds: Float[Tensor, "share embed"],
    text_embeds: Float[Tensor, "share embed"],
    logit_scale: Float[Tensor, ""],
    tile: int = 2048,
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """`clip_loss` of the whole batch, of which every rank passes a part.

    A collective call, forward and backward: all ranks of the group make both, in the same order.
    Gradients are shares that add up: after `backward`, every rank holds the whole loss's gradient
    at its own embeddings and its rows' part of the scale's gradient; summed over the ranks, the
    gradients of all weights and of the scale are those of one process with the whole batch. What
    averages gradients, as DDP does, needs this loss times the number of ranks.

    Args:
        image_embeds: this rank's, unit-norm; row i matches row i of `text_embeds`.
        text_embeds: this rank's, unit-norm. NaN on any rank gives NaN on all.
        logit_scale: multiplier > 0, already exponentiated; the same number on every rank.
        tile: rows and columns of the part of the logits that exists at a time, at least 1.
        group: of processes; None for all of them. Alone, or where no group was started, this is
            `tiled_clip_loss`.

    Returns:
        The same number on every rank: the mean over all pairs and both directions, in nats.

    Raises:
        ValueError: as `tiled_clip_loss`, or the ranks differ in batch (an uneven last batch is
            refused), axis length, precision, scale or in what needs a gradient. All ranks raise,
            none is left waiting.

    Source: Radford et al. 2021, section 2.5 and Fig. 3.
    """
    if not dist.is_initialized() or dist.get_world_size(group) == 1:
        return tiled_clip_loss(image_embeds, text_embeds, logit_scale, tile)
    _check_together(image_embeds, text_embeds, logit_scale, tile, group)
    dtype = computing_dtype(image_embeds, text_embeds)
    embeds = image_embeds.to(dtype), text_embeds.to(dtype).contiguous()
    return _Sharded.apply(*embeds, logit_scale.to(dtype), tile, group)


class _Sharded(Function):
    """This rank's rows of the logits, against the texts of one rank after the other."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        tile: int,
        group: dist.ProcessGroup | None,
    ) -> Tensor:
        share, ranks = len(images), dist.get_world_size(group)
        queries = images * (scale * BITS)
        longest = bounds(queries, texts)
        dist.all_reduce(longest, dist.ReduceOp.MAX, group)
        offset = share * dist.get_rank(group)
        sums = Sums.empty(queries, share * ranks, reference_for(longest), offset)
        for shard, keys in _shards(texts, group):
            sums.add(queries, keys, tile, first=share * shard)
        _join_columns(sums, group)
        total = sums.nats()
        dist.all_reduce(total, dist.ReduceOp.SUM, group)
        ctx.save_for_backward(images, texts, scale)
        ctx.sums, ctx.tile, ctx.group = sums, tile, group
        return total / (2 * share * ranks)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        images, texts, scale = ctx.saved_tensors
        wants_images, wants_texts, wants_scale = ctx.needs_input_grad[:3]
        on_images = torch.zeros_like(images) if wants_images or wants_scale else None
        on_texts, others = (torch.empty_like(texts) if wants_texts else None for _ in range(2))
        queries = images * (scale * BITS)
        for shard, keys in _shards(texts, ctx.group):
            on_keys = on_texts if shard == dist.get_rank(ctx.group) else others
            if wants_texts:
                on_keys.zero_()
            first = len(images) * shard
            ctx.sums.pull(queries, keys, ctx.tile, on_images, on_keys, first)
            if wants_texts:
                dist.reduce(on_keys, group=ctx.group, group_dst=shard)
        share = grad / (2 * len(ctx.sums.column_sums))
        grads = gradients(images, scale, on_images, on_texts, share, ctx.needs_input_grad)
        return *grads, None, None


def _shards(texts: Tensor, group: dist.ProcessGroup | None) -> Iterator[tuple[int, Tensor]]:
    """Every rank's texts in turn; the next ones are received while these are used."""
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    buffers = [torch.empty_like(texts) for _ in range(2)]

    def begin(shard: int) -> tuple[Tensor, dist.Work]:
        buffer = texts.detach() if shard == rank else buffers[shard % 2]
        return buffer, dist.broadcast(buffer, group=group, group_src=shard, async_op=True)

    coming = begin(0)
    for shard in range(ranks):
        keys, transfer = coming
        transfer.wait()
        if shard + 1 < ranks:
            coming = begin(shard + 1)
        yield shard, keys


def _join_columns(sums: Sums, group: dist.ProcessGroup | None) -> None:
    """Add up the columns' sums of all ranks, in place."""
    if sums.reference is None:
        tops = sums.column_peaks.clone()
        dist.all_reduce(tops, dist.ReduceOp.MAX, group)
        sums.column_sums.mul_(torch.exp2(sums.column_peaks - tops))
        sums.column_peaks = tops
    dist.all_reduce(sums.column_sums, dist.ReduceOp.SUM, group)


FACTS = ("batch", "embed", "bits of precision", "logit_scale", "image gradient", "text gradient",
         "scale gradient")  # fmt: skip


def _check_together(
    images: Tensor, texts: Tensor, scale: Tensor, tile: int, group: dist.ProcessGroup | None
) -> None:
    """Raise on all ranks if any rank has wrong inputs, or if the inputs of ranks do not match."""
    refusal, facts = None, [0.0] * len(FACTS)
    try:
        check(images, texts, scale)
        check_tile(tile)
        bits = torch.finfo(computing_dtype(images, texts)).bits
        wants = [torch.is_grad_enabled() and x.requires_grad for x in (images, texts, scale)]
        facts = [*images.shape, bits, scale.item(), *wants]
    except ValueError as error:
        refusal = error
    ours = torch.tensor([*facts, refusal is not None], dtype=torch.float64, device=images.device)
    answers = [torch.empty_like(ours) for _ in range(dist.get_world_size(group))]
    dist.all_gather(answers, ours, group)
    if refusal is not None:
        raise refusal
    *given, refused = torch.stack(answers).T.tolist()
    if any(refused):
        raise ValueError(
            f"expected inputs that every rank takes, got a refusal on rank {refused.index(1)}; "
            "its own message says why"
        )
    for fact, values in zip(FACTS, given, strict=True):
        _check_equal(fact, values)


def _check_equal(fact: str, values: list[float]) -> None:
    other = next((rank for rank, value in enumerate(values) if value != values[0]), None)
    if other is not None:
        raise ValueError(
            f"expected one {fact} on every rank, got {values[0]:g} on rank 0 and "
            f"{values[other]:g} on rank {other}; give all the same, drop an uneven last batch"
        )
