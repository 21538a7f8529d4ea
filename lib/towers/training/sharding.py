"""Weights, gradients and moments spread over the ranks: torch's fully sharded data parallelism.

Accelerate shards on accelerators only, and refuses CLIP's scale, a number without an axis; torch's
own `fully_shard` runs with any backend. The whole objective is one group: its weights and all their
gradients are together while a batch goes forward and backward, over all parts and chunks of it, and
apart while the optimiser works. So what is saved is the moments and, between batches, the rest.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.distributed as dist
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


def shard(objective: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Spread an objective's weights over the ranks, in place; those without an axis stay whole."""
    objective.to(accelerator.device)
    for weight in objective.parameters():
        weight.data = weight.data.contiguous()
        dist.broadcast(weight.data, src=0)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    whole = {weight for weight in objective.parameters() if not weight.ndim}
    return fully_shard(objective, mesh=mesh, ignored_params=whole)


def share_gradients(objective: nn.Module) -> None:
    """Average over the ranks the gradients of weights that are not spread."""
    for weight in objective.parameters():
        if weight.grad is not None and not isinstance(weight.grad, DTensor):
            dist.all_reduce(weight.grad)
            weight.grad /= dist.get_world_size()


@contextlib.contextmanager
def unshared(objective: nn.Module) -> Iterator[None]:
    """Backward passes in here keep their gradients on their rank."""
    objective.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        objective.set_requires_gradient_sync(True)


def gathered(objective: nn.Module, copy: nn.Module) -> nn.Module:
    """Bring all weights into a copy of the objective that was made before they were spread.

    All ranks call this, and all get the same.
    """
    whole = {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in objective.state_dict().items()
    }
    copy.load_state_dict(whole)
    return copy


def clip(weights: list[nn.Parameter], limit: float) -> Float[Tensor, ""]:
    """Scale all gradients down together where their norm is above a limit; the norm before.

    Args:
        weights: spread or whole.
        limit: 0: any norm.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    spread = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    norms = [nn.utils.get_total_norm(part) for part in (spread, whole) if part]
    norms = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    if limit:
        factor = float((limit / (norm + 1e-6)).clamp(max=1.0))
        for gradient in gradients:
            gradient.mul_(factor)
    return norm
