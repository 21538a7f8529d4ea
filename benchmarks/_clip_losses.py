"""Random pairs, and one step of a contrastive loss on them."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

THREADS = torch.get_num_threads()  # as many as the machine, or OMP_NUM_THREADS, allows


def pairs(batch: int, embed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit-norm images, texts that resemble them somewhat, and CLIP's first scale."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, embed, generator=generator)
    texts = 0.2 * images + torch.randn(batch, embed, generator=generator)
    leaves = F.normalize(images, dim=1), F.normalize(texts, dim=1), torch.tensor(1 / 0.07)
    return tuple(leaf.requires_grad_() for leaf in leaves)


def step(loss_of: Callable, leaves: tuple[Tensor, ...], threads: int) -> tuple[Tensor, ...]:
    """Loss and gradients of one forward and backward pass."""
    torch.set_num_threads(threads)
    for leaf in leaves:
        leaf.grad = None
    loss = loss_of(*leaves)
    loss.backward()
    return loss.detach(), *(leaf.grad for leaf in leaves)


def same(ours: tuple[Tensor, ...], peer: tuple[Tensor, ...]) -> bool:
    """float32 logits of up to 14 are right to 1e-6, and so are averages over them."""
    return all(
        (own - theirs).abs().max() <= 1e-5 * theirs.abs().max() and math.isfinite(own.sum())
        for own, theirs in zip(ours, peer, strict=True)
    )
