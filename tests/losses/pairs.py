"""Random unit-norm pairs, and what a loss leaves in them."""

import torch
import torch.nn.functional as F


def unit_pairs(batch, embed, seed, dtype=torch.float64, noise=1.0):
    """Images, and texts that are their noisy copies: pairs stand out, the more the less noise."""
    generator = torch.Generator().manual_seed(seed)
    images, other = torch.randn(2, batch, embed, generator=generator, dtype=torch.float64)
    return [F.normalize(x, dim=1).to(dtype) for x in (images, images + noise * other)]


def leaves(images, texts, scale, dtype=None):
    """Copies that take gradients; the scale through its logarithm, as models learn it."""
    log_scale = torch.tensor(scale, dtype=dtype or torch.float64).log()
    return [x.detach().clone().requires_grad_() for x in (images, texts, log_scale)]


def after(loss_of, images, texts, scale, dtype=None):
    """Loss, and gradients of images, texts and log_scale."""
    images, texts, log_scale = leaves(images, texts, scale, dtype)
    loss = loss_of(images, texts, log_scale.exp())
    loss.backward()
    return [loss.detach(), images.grad, texts.grad, log_scale.grad]
