"""The same weights on several ranks, which share their gradients: torch's DDP, laid out beforehand.

DDP sends gradients in buckets, and lays them out anew after the first backward pass that it sees:
a resumed run would add up the same numbers in another order. So that pass is made here, with a
pair or two, before anything is learnt. It also shows whether there are weights that no gradient
reaches, for which DDP would have to look in every update.
"""

import contextlib
from collections.abc import Iterator

from accelerate import Accelerator
from torch import nn

from towers.training.batches import Batch

PAIRS = slice(2)
"""Of a batch, that are sent through the objective beforehand."""


def replicate(objective: nn.Module, accelerator: Accelerator, batch: Batch) -> nn.Module:
    """An objective whose gradients are averaged over the ranks; itself where there is one rank.

    Args:
        objective: on its device, with the same weights on all ranks.
        accelerator: of the ranks; all of them call this.
        batch: of this rank, on the device; nothing is learnt from it.
    """
    if accelerator.num_processes == 1:
        return accelerator.prepare(objective)
    with _without_a_trace(objective):
        _there_and_back(objective, batch.part(PAIRS))
        reached = all(
            each.grad is not None for each in objective.parameters() if each.requires_grad
        )
    accelerator.ddp_handler.find_unused_parameters = not reached
    shared = accelerator.prepare(objective)
    if reached:
        with _without_a_trace(objective):
            _there_and_back(shared, batch.part(PAIRS))
    return shared


def _there_and_back(objective: nn.Module, batch: Batch) -> None:
    outputs = [output for output in objective(batch.images, batch.texts) if output.requires_grad]
    sum(output.sum() for output in outputs).backward()


@contextlib.contextmanager
def _without_a_trace(objective: nn.Module) -> Iterator[None]:
    """Leave statistics, gradients and the modules' modes as they were."""
    modes = {each: each.training for each in objective.modules()}
    objective.eval()
    try:
        yield
    finally:
        objective.zero_grad(set_to_none=True)
        for each, mode in modes.items():
            each.training = mode
