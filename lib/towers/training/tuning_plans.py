"""Before a network is fine-tuned: what it would take on one device, found without computing.

Source: Tschannen et al. 2023, section 4.2 and appendix B.1 (what CLIPPO is fine-tuned for).
"""

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from towers.models.counting import parameters
from towers.training import tracing
from towers.training.budget import ACCELERATORS, FP32, GB, Accelerator, Plan

MOMENTS = {"adamw": 2 * FP32, "sgd": FP32}
"""Bytes that an optimiser holds for a weight; SGD is that with momentum."""


def plan(
    network: nn.Module,
    example: Tensor | dict[str, Tensor],
    batch: int,
    updates: int,
    *,
    name: str,
    optimiser: str = "adamw",
    precision: str = "bf16",
    accelerator: Accelerator = ACCELERATORS["A100-80GB"],
    utilisation: float = 0.3,
    overhead: float = 2 * GB,
) -> Plan:
    """What fine-tuning a whole network would take; nothing is computed, and no weight is needed.

    Args:
        network: of one argument, best on the meta device; all of its weights learn.
        example: its input, of one item.
        batch: items per update.
        updates: in all.
        name: of the network in records.
        optimiser: of `MOMENTS`.
        precision: of the arithmetic, one that the accelerator has.
        accelerator: the one device.
        utilisation: share of the device's peak, above 0 and at most 1.
        overhead: bytes for what is not counted.

    Returns:
        As `training.plan` gives it; there is no loss over pairs, and nothing travels.

    Raises:
        ValueError: an unknown optimiser, an impossible precision, or nothing to do.
    """
    if optimiser not in MOMENTS or precision not in accelerator.flops or min(batch, updates) < 1:
        raise ValueError(
            f"expected an optimiser of {', '.join(MOMENTS)}, a precision of {accelerator.name} "
            f"({', '.join(accelerator.flops)}), batch >= 1 and updates >= 1, got {optimiser!r}, "
            f"{precision!r}, {batch} and {updates}"
        )
    traced, count = _traced(network, example, batch, precision), parameters(network)
    return Plan(
        name, accelerator, 1, batch, batch, precision, "ddp", count, batch * updates,
        weights=FP32 * count, gradients=FP32 * count, moments=MOMENTS[optimiser] * count,
        transient=0, inputs=traced.inputs, activations=traced.peak, embeddings=0, loss=0,
        overhead=overhead, flops=traced.flops, utilisation=utilisation,
        dollars=accelerator.dollars,
    )  # fmt: skip


class _Step(tracing.Step):
    """Forward and backward of one network, as `tracing.measured` calls it."""

    def forward(
        self, inputs: Tensor | dict[str, Tensor], precision: str, meter: tracing.Meter
    ) -> tuple[int, int]:
        """Operations of the way forward, and bytes held after it."""
        with torch.autocast("cpu", tracing.DTYPES[precision], enabled=precision != "fp32"):
            outputs = tree_leaves(self.dual(inputs))
        forward, saved = meter.flops, meter.now
        sum(each.sum() for each in outputs).backward()
        return forward, saved


def _traced(network: nn.Module, example: object, batch: int, precision: str) -> tracing.Trace:
    """A step on fake tensors, in training mode; the network's own modes come back."""
    modes = {each: each.training for each in network.modules()}
    step = _Step(network.train())
    with FakeTensorMode(allow_non_fake_inputs=True):
        weights = {name: _fake(tensor) for name, tensor in tracing.state(step)}
        inputs = tree_map(lambda each: _fake(each, batch), example)
        traced = tracing.measured(step, weights, inputs, precision)
    for each, mode in modes.items():
        each.training = mode
    return traced


def _fake(tensor: Tensor, batch: int | None = None) -> Tensor:
    """A fake tensor of the same shape and type; of another batch, where one is given."""
    if batch is not None:
        return torch.empty(batch, *tensor.shape[1:], dtype=tensor.dtype, device="cpu")
    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    return fake.requires_grad_(tensor.is_floating_point() and tensor.requires_grad)
