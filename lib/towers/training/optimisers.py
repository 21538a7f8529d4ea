"""Which weights an update moves, with what decay, and by which rule."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from towers.training.adafactor import Adafactor, kernel_groups

GAINS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _BatchNorm)
"""Modules whose weights are gains, whatever their number of axes."""


def optimiser(
    model: nn.Module,
    name: str,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    head: float = 1.0,
) -> torch.optim.Optimizer:
    """An optimiser over all trainable weights of a model.

    Args:
        model: whose weights lie where they will be trained.
        name: "adamw", "adafactor" or "sgd".
        lr: peak learning rate.
        betas: of AdamW; the first is SGD's momentum.
        eps: of AdamW.
        weight_decay: AdamW's, on all weights but gains and biases; or Adafactor's, on kernels.
        head: multiple of the rate for what an objective adds to its pair, the groups' "times".
    """
    if name == "adafactor":
        return Adafactor(kernel_groups(model, weight_decay), lr)
    groups = decay_groups(model, weight_decay, head)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=betas[0])
    fused = True  # one pass over each weight, not ten
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=fused)


def decay_groups(model: nn.Module, weight_decay: float, head: float = 1.0) -> list[dict]:
    """Trainable weights with decay, and those without: gains, biases, and scales for themselves.

    A weight decays if it has two axes or more and is not the gain of a norm.

    Source: Radford et al. 2021, sec. 2.5.
    """
    gains = {
        id(weight)
        for module in model.modules()
        if isinstance(module, GAINS)
        for weight in module.parameters(recurse=False)
    }
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            decays = weight.ndim >= 2 and id(weight) not in gains
            times = 1.0 if name.startswith("dual.") else head
            groups.setdefault((decays, weight.ndim > 0, times), []).append(weight)
    return [
        {"params": weights, "weight_decay": weight_decay if decays else 0.0, "times": times}
        for (decays, _, times), weights in groups.items()
    ]
