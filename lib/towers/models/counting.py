"""Size and cost of a tower from its shapes alone: nothing has to be in memory."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from towers.models.encoders import ImageTower, TextTower, Tokens


def parameters(module: torch.nn.Module) -> int:
    """Learned numbers of a model."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_flops(tower: ImageTower | TextTower) -> int:
    """Floating-point operations of a forward pass over one input.

    Args:
        tower: on the meta device, so that nothing is computed, or elsewhere, where it is.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tower(example(tower, 1))
    return counter.get_total_flops()


def example(tower: ImageTower | TextTower, batch: int) -> torch.Tensor | Tokens:
    """Inputs of the right shape on the tower's device; texts fill the tower's context or page."""
    if isinstance(tower, ImageTower):
        side = tower.transform.size
        return torch.zeros(batch, 3, side, side, device=tower.device)
    tokens = tower.tokenize(["word " * 1000])
    return {n: each.expand(batch, *each.shape[1:]).to(tower.device) for n, each in tokens.items()}
