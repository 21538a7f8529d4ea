"""Large contrastive batches in the memory of small ones: gradient caching.

The loss of a batch needs all embeddings at once, but each embedding's own graph only when its turn
in the backward pass comes. So embeddings are computed without graphs, chunk by chunk, the loss
gives the gradient at each, and then every chunk is computed again, with its graph, and takes its
gradients back to the weights.

Source: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup".
"""

import operator
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Inputs = Tensor | Mapping[str, Tensor]
"""A batch: one tensor, or named ones as tokens are, whose first axis is the batch."""

Embedded = tuple[Tensor, Tensor, Tensor]
"""Image embeddings, text embeddings, logit_scale."""


def cached_step(
    embed: Callable[[Inputs, Inputs], Embedded],
    images: Inputs,
    texts: Inputs,
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    chunk: int,
    seed: int,
    backward: Callable[[Tensor], None] = torch.Tensor.backward,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> Tensor:
    """Forward and backward over a large batch, chunk by chunk; gradients are the whole batch's.

    Exact, the scale's gradient included, which is taken from the loss once and not once per chunk.
    The last chunk's graph is kept from the first pass, so that with k chunks k - 1 are computed
    twice; memory holds one chunk's graph, all embeddings, and what the loss needs.

    Random draws replay: every chunk begins with its own seed both times, so that dropout and patch
    dropping agree between the passes; the caller's random state is left as it was. Batch
    normalisation sees chunks instead of the batch, and counts all but the last chunk twice.

    Args:
        embed: a chunk of images and of texts to unit-norm embeddings and the logit_scale; with
            DDP one call of the wrapped model, so that every weight takes part in every call.
        images: all of this process's.
        texts: as many, in the same order.
        loss_of: embeddings and scale to the loss, as `losses.tiled_clip_loss`; it may be
            `losses.sharded_clip_loss` (times the number of ranks under DDP, which averages).
        chunk: pairs that have a graph at a time, at least 1; the last chunk may be smaller.
        seed: of this step on this rank; each chunk's is a function of it and of its number.
        backward: for the loss only: `accelerator.backward` lets a gradient scaler (fp16) multiply
            it, and the cached gradients carry that factor on to the weights.
        no_sync: entered for every chunk but the last one that goes back, as `model.no_sync` of
            DDP: the gradients travel once.

    Returns:
        The loss, detached.

    Raises:
        ValueError: chunk is below 1, there are no pairs, or images and texts differ in number.
    """
    pieces = _pieces(images, texts, chunk)
    *others, last = range(len(pieces))
    waiting = no_sync if others else nullcontext
    devices = _accelerators(images, texts)
    with torch.random.fork_rng(devices, device_type=devices[0].type if devices else "cuda"):
        with torch.no_grad():
            first_pass = [_embedded(embed, pieces, number, seed) for number in others]
        # torch 2.9 hands out again what it cast without a graph (pytorch/pytorch#158232)
        torch.clear_autocast_cache()
        with waiting():
            kept = _embedded(embed, pieces, last, seed)
            loss, grads = _loss_and_gradients([*first_pass, kept], loss_of, backward)
            _go_back(kept, grads[last], with_scale=not others)
        for number in others:
            with no_sync() if number != others[-1] else nullcontext():
                again = _embedded(embed, pieces, number, seed)
                _go_back(again, grads[number], with_scale=number == others[-1])
    return loss


def chunk_seed(seed: int, number: int) -> int:
    """The seed of a step's chunk, chunks counted from 0."""
    return (seed * 1_000_003 + number) % 2**63


def _pieces(images: Inputs, texts: Inputs, chunk: int) -> list[tuple[Inputs, Inputs]]:
    """Images and texts in chunks."""
    counts = {len(tensor) for tensor in tree_leaves((images, texts))}
    if chunk < 1 or len(counts) != 1 or 0 in counts:
        raise ValueError(
            "expected a chunk of at least 1 and as many images as texts, at least one, got chunk "
            f"{chunk} and axes of {sorted(counts)}; give one text for each image"
        )
    slices = [slice(first, first + chunk) for first in range(0, counts.pop(), chunk)]
    return [tree_map(operator.itemgetter(rows), (images, texts)) for rows in slices]


def _accelerators(images: Inputs, texts: Inputs) -> list[torch.device]:
    """Devices whose random state must be left as it was, the CPU apart."""
    devices = {tensor.device for tensor in tree_leaves((images, texts))}
    return [device for device in devices if device.type != "cpu"]


def _embedded(embed: Callable, pieces: list, number: int, seed: int) -> Embedded:
    """Embed one chunk, with the same random draws every time."""
    torch.manual_seed(chunk_seed(seed, number))
    return embed(*pieces[number])


def _loss_and_gradients(
    chunks: list[Embedded], loss_of: Callable, backward: Callable
) -> tuple[Tensor, list[tuple[Tensor | None, ...]]]:
    """The loss of all chunks, and its gradients at each chunk's embeddings and at the scale."""
    kept = chunks[-1]
    images, texts = (torch.cat([chunk[side].detach() for chunk in chunks]) for side in (0, 1))
    leaves = images, texts, kept[2].detach().clone()
    for leaf, source in zip(leaves, kept, strict=True):
        leaf.requires_grad_(source.requires_grad)
    loss = loss_of(*leaves)
    if loss.requires_grad:
        backward(loss)
    sizes = [len(chunk[0]) for chunk in chunks]
    parts = [[None] * len(sizes) if x.grad is None else x.grad.split(sizes) for x in leaves[:2]]
    return loss.detach(), [(*pair, leaves[2].grad) for pair in zip(*parts, strict=True)]


def _go_back(embedded: Embedded, grads: tuple[Tensor | None, ...], with_scale: bool) -> None:
    """Backward from a chunk's embeddings, and the scale `with_scale`, to the weights."""
    count = 3 if with_scale else 2
    ends = [(x, grad) for x, grad in zip(embedded[:count], grads, strict=False) if grad is not None]
    if ends:
        torch.autograd.backward(*(list(side) for side in zip(*ends, strict=True)))
