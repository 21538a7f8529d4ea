"""Data parallelism: weights replicated on each rank (DDP), or sharded over the ranks (FSDP).

DDP sends gradients in buckets, and lays them out anew after the first backward pass that it sees:
a resumed run would add up the same numbers in another order. So that pass is made here, with a
pair or two, before anything is learnt. It also shows whether there are weights that no gradient
reaches, for which DDP would have to look in every update.

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

from towers.training.batches import Batch

PAIRS = slice(2)
"""Of a batch, that are sent through the objective beforehand."""


def replicate(objective: nn.Module, accelerator: Accelerator, batch: Batch) -> nn.Module:
    """Wrap an objective in DDP, which averages gradients over the ranks.

    Args:
        objective: on its device, with the same weights on all ranks.
        accelerator: of the ranks; all of them call this. With one rank there is no DDP.
        batch: of this rank, on the device; nothing is learnt from it.
    """
    if accelerator.num_processes == 1:
        return accelerator.prepare(objective)
    with _unchanged(objective):
        _forward_backward(objective, batch.part(PAIRS))
        trained = [weight for weight in objective.parameters() if weight.requires_grad]
        reached = all(weight.grad is not None for weight in trained)
    accelerator.ddp_handler.find_unused_parameters = not reached
    shared = accelerator.prepare(objective)
    if reached:
        with _unchanged(objective):
            _forward_backward(shared, batch.part(PAIRS))
    return shared


def _forward_backward(objective: nn.Module, batch: Batch) -> None:
    outputs = [output for output in objective(batch.images, batch.texts) if output.requires_grad]
    sum(output.sum() for output in outputs).backward()


@contextlib.contextmanager
def _unchanged(objective: nn.Module) -> Iterator[None]:
    """Restore statistics, gradients and modes of the modules."""
    modes = {module: module.training for module in objective.modules()}
    objective.eval()
    try:
        yield
    finally:
        objective.zero_grad(set_to_none=True)
        for module, mode in modes.items():
            module.training = mode


def shard(objective: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Shard an objective's weights over the ranks, in place; scalars stay whole."""
    objective.to(accelerator.device)
    for weight in objective.parameters():
        weight.data = weight.data.contiguous()
        dist.broadcast(weight.data, src=0)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    whole = {weight for weight in objective.parameters() if not weight.ndim}
    return fully_shard(objective, mesh=mesh, ignored_params=whole)


def share_gradients(objective: nn.Module) -> None:
    """Average the gradients of unsharded weights over the ranks."""
    for weight in objective.parameters():
        if weight.grad is not None and not isinstance(weight.grad, DTensor):
            dist.all_reduce(weight.grad)
            weight.grad /= dist.get_world_size()


@contextlib.contextmanager
def unshared(objective: nn.Module) -> Iterator[None]:
    """Do not share gradients in backward passes in here."""
    objective.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        objective.set_requires_gradient_sync(True)


def gathered(objective: nn.Module, copy: nn.Module) -> nn.Module:
    """Gather all weights into a copy of the objective, made before sharding; on all ranks."""
    whole = {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in objective.state_dict().items()
    }
    copy.load_state_dict(whole)
    return copy


def clip(weights: list[nn.Parameter], limit: float) -> Float[Tensor, ""]:
    """Clip gradients to a norm of all of them together; returns the norm before.

    Args:
        weights: sharded or not.
        limit: 0: do not clip.
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
