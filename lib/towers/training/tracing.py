"""FLOPs and memory of one training step, by tracing shapes: no memory is taken, nothing computed.

The step runs on fake tensors, which have shapes, types and strides but no content; each operation
is counted, and each block of memory from when it would be taken until it would be freed.
"""

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from towers.models import DualTower, Tower
from towers.models.counting import example

_ATEN, _FLASH = torch.ops.aten, "_scaled_dot_product_flash_attention"
FORMULAS = flop_registry | {
    getattr(_ATEN, f"{_FLASH}_for_cpu{way}"): flop_registry[getattr(_ATEN, f"{_FLASH}{way}")]
    for way in ("", "_backward")
}
"""torch's formulas of operations; its own counter misses the attention that a CPU takes."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Trace:
    """What forward and backward of a batch take on one device.

    Attributes:
        batch: pairs, or items.
        forward_flops: floating-point operations of the way forward; a multiplication and the
            addition that follows it are two.
        flops: of the way forward and back, with what checkpointing computes again.
        inputs: bytes of pictures and tokens.
        saved: bytes that are held when the way forward is done, inputs and weights apart.
        peak: the most bytes that are held at any moment of forward and backward; without inputs
            and weights, and without the weights' gradients but the one that is being made.
    """

    batch: int
    forward_flops: int
    flops: int
    inputs: int
    saved: int
    peak: int


class Meter(TorchDispatchMode):
    """Counts what operations compute, and the bytes held by tensors that they make.

    torch's own counter of operations listens to modules as well, in a way that keeps tensors alive;
    its formulas are used here (`FORMULAS`).

    Attributes:
        flops: floating-point operations so far, of matrix products, convolutions and attention.
        now: bytes held now.
        peak: the most that were held at any moment.
    """

    def __init__(self, known: list[Tensor]) -> None:
        """Start with tensors that were there before and are not counted."""
        super().__init__()
        self.flops = self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if formula := FORMULAS.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=made)
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._take(tensor)
        return made

    def _take(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def _free(self, key: int, count: int) -> None:
        self._known.discard(key)
        self.now -= count


class Step(nn.Module):
    """Forward and backward of a batch as one call, in which a network's weights can be replaced.

    What is checkpointed is computed again on the way back, so that both ways belong in the call.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Any, precision: str, meter: Meter) -> tuple[int, int]:
        """Operations of the way forward, and bytes held after it."""
        with torch.autocast("cpu", DTYPES[precision], enabled=precision != "fp32"):
            if isinstance(self.network, DualTower):
                outputs = self.network.embed_images(inputs[0]), self.network.embed_texts(inputs[1])
            else:
                outputs = tree_leaves(self.network(inputs))
        forward, saved = meter.flops, meter.now
        sum(output.sum() for output in outputs).backward()
        return forward, saved


def trace(
    network: nn.Module,
    batch: int,
    precision: str = "fp32",
    *,
    item: Any = None,
    cached: bool = False,
    checkpointing: bool | None = None,
) -> Trace:
    """Trace one step of a pair of towers, or of another network, in training mode.

    A frozen tower, whoever locked it, goes forward in evaluation mode and leaves nothing behind for
    the way back.

    Args:
        network: on any device, the meta device too; it is not touched.
        batch: pairs, or items, on the device.
        precision: "fp32", or "bf16" or "fp16" for arithmetic under autocast.
        item: the input of one item, for a network that is no pair.
        cached: whether a pair's frozen image tower takes no part, its features read from a cache,
            as in runs with `Recipe.cache_features`.
        checkpointing: in all transformers; None leaves them as they are.

    Raises:
        ValueError: another precision, an empty batch, nothing that can checkpoint, or a tower that
            packs its texts.
    """
    if precision not in DTYPES or batch < 1:
        raise ValueError(
            f"expected a precision of {', '.join(DTYPES)} and batch >= 1, got {precision!r} and "
            f"{batch}"
        )
    if isinstance(network, DualTower):
        image = network.image
        read = cached and image.frozen
        features = torch.empty(1, image.width, device="meta") if read else example(image, 1)
        item = features, example(network.text, 1)
    step = Step(network)
    with _training(network, checkpointing), FakeTensorMode(allow_non_fake_inputs=True):
        fakes: dict[Tensor, Tensor] = {}
        for _, tensor in state(step):
            if tensor not in fakes:
                fakes[tensor] = _like(tensor)
        weights = {name: fakes[tensor] for name, tensor in state(step)}
        inputs = tree_map(partial(_fake, batch=batch), item)
        try:
            return measured(step, weights, inputs, precision)
        except DynamicOutputShapeException:
            raise ValueError(
                "expected towers whose shapes do not depend on what they read, got others; trace "
                "packed texts as whole pages, packed=false"
            ) from None


def measured(step: Step, weights: dict[str, Tensor], inputs: Any, precision: str) -> Trace:
    """Measure a step on the tensors that are given: fake ones, or real ones.

    Args:
        step: of a network in training mode.
        weights: instead of the network's own, named by `state`; their gradients are dropped.
        inputs: a batch, for a pair one for each tower.
        precision: as `trace` takes it.
    """
    given = [tensor for tensor in tree_leaves(inputs) if isinstance(tensor, Tensor)]
    hooks = [
        tensor.register_post_accumulate_grad_hook(_forget)
        for tensor in weights.values()
        if tensor.requires_grad
    ]
    with Meter([*weights.values(), *given]) as meter:
        forward, saved = functional_call(
            step, weights, (inputs, precision, meter), tie_weights=False
        )
    for hook in hooks:
        hook.remove()
    taken = sum(tensor.nbytes for tensor in given)
    return Trace(len(given[0]), forward, meter.flops, taken, saved, meter.peak)


def _forget(parameter: Tensor) -> None:
    parameter.grad = None


def state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A module's parameters and buffers by name, those that no checkpoint holds too.

    A network that is shared comes once, so that what replaces its weights is taken out again once;
    a weight that several networks hold comes under each of its names.
    """
    for path, part in module.named_modules():
        for held in (part.named_parameters(recurse=False), part.named_buffers(recurse=False)):
            yield from ((f"{path}.{name}".lstrip("."), tensor) for name, tensor in held)


def _fake(single: Tensor, batch: int) -> Tensor:
    return torch.empty(batch, *single.shape[1:], dtype=single.dtype, device="cpu")


def _like(tensor: Tensor) -> Tensor:
    """A fake tensor of the same shape, strides and type."""
    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    return fake.requires_grad_(tensor.requires_grad)


@contextlib.contextmanager
def _training(network: nn.Module, checkpointing: bool | None) -> Iterator[None]:
    """Training mode, but for frozen towers, and checkpointing; what modules had comes back."""
    able = [module for module in network.modules() if hasattr(module, "grad_checkpointing")]
    if checkpointing and not able:
        raise ValueError("expected a tower that can checkpoint, got none; transformers can")
    modes = {module: module.training for module in network.modules()}
    kept = {module: module.grad_checkpointing for module in able}
    towers = {tower: (tower.named, tower.moved) for tower in modes if isinstance(tower, Tower)}
    network.train()
    for module in able if checkpointing is not None else ():
        module.grad_checkpointing = checkpointing
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for module, way in kept.items():
            module.grad_checkpointing = way
        for tower, (named, moved) in towers.items():
            tower.named, tower.moved = named, moved
