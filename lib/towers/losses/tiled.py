"""The contrastive loss of a batch whose matrix of logits does not fit into memory, tile by tile."""

import torch
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


def tiled_clip_loss(
    image_embeds: Float[Tensor, "batch embed"],
    text_embeds: Float[Tensor, "batch embed"],
    logit_scale: Float[Tensor, ""],
    tile: int = 2048,
) -> Float[Tensor, ""]:
    """`clip_loss` in memory that grows with the tile and the embeddings, not with batch squared.

    Value and gradients, also of the scale, are those of `clip_loss` in its precision, at any scale
    and for any batch; NaN is treated alike. One pass serves both directions: forward takes one
    matrix product, backward three, where the dense loss takes six. Gradients cannot be computed in
    the forward pass, as each needs the complete sums of its row and column.

    Args:
        image_embeds: unit-norm; row i matches row i of `text_embeds`.
        text_embeds: unit-norm.
        logit_scale: multiplier > 0, already exponentiated. An accelerator waits twice per call:
            to check it, and for the range of the logits.
        tile: rows and columns of the part of the logits that exists at a time, at least 1; with
            larger ones threads wait less often for each other.

    Returns:
        Mean of both directions, in nats; log(batch) at chance, 0 for a batch of one.

    Raises:
        ValueError: as `clip_loss`; or tile is below 1.
        RuntimeError: a second derivative is asked for (create_graph=True).

    Source: Radford et al. 2021, Fig. 3.
    """
    check(image_embeds, text_embeds, logit_scale)
    check_tile(tile)
    dtype = computing_dtype(image_embeds, text_embeds)
    embeds = image_embeds.to(dtype), text_embeds.to(dtype)
    return _Tiled.apply(*embeds, logit_scale.to(dtype), tile)


def check_tile(tile: int) -> None:
    """Refuse a tile without a row.

    Raises:
        ValueError: tile is below 1.
    """
    if tile < 1:
        raise ValueError(f"expected a tile of at least 1 row, got {tile}; 2048 suits most machines")


class _Tiled(Function):
    """The whole batch in one block."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, images: Tensor, texts: Tensor, scale: Tensor, tile: int
    ) -> Tensor:
        queries = images * (scale * BITS)
        sums = Sums.empty(queries, len(texts), reference_for(bounds(queries, texts)))
        sums.add(queries, texts, tile)
        ctx.save_for_backward(images, texts, scale)
        ctx.sums, ctx.tile = sums, tile
        return sums.nats() / (2 * len(images))

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        images, texts, scale = ctx.saved_tensors
        wants_images, wants_texts, wants_scale, _ = ctx.needs_input_grad
        on_images = torch.zeros_like(images) if wants_images or wants_scale else None
        on_texts = torch.zeros_like(texts) if wants_texts else None
        ctx.sums.pull(images * (scale * BITS), texts, ctx.tile, on_images, on_texts)
        share = grad / (2 * len(images))
        return *gradients(images, scale, on_images, on_texts, share, ctx.needs_input_grad), None


def gradients(
    images: Tensor,
    scale: Tensor,
    on_images: Tensor | None,
    on_texts: Tensor | None,
    share: Tensor,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of images, texts and scale from the results of `Sums.pull`, which they overwrite.

    Args:
        images: unit-norm embeddings.
        scale: multiplier of the logits.
        on_images: from `Sums.pull`; None if neither images nor scale need a gradient.
        on_texts: from `Sums.pull`; None if texts need no gradient.
        share: of the loss in each pair and direction.
        wanted: whether images, texts and scale need a gradient.
    """
    scale_grad = share * torch.vdot(images.flatten(), on_images.flatten()) if wanted[2] else None
    image_grad = on_images.mul_(scale * share) if wanted[0] else None
    return image_grad, on_texts.mul_(share / BITS) if wanted[1] else None, scale_grad
