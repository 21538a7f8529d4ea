"""What one step computes and holds, found by tracing shapes: no memory is taken, nothing computed.

The step runs on fake tensors, which have shapes, types and strides but no content; each operation
is counted, and each block of memory from when it would be taken until it would be freed.
"""

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
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
    """What embedding a batch and the way back through both towers takes on one device.

    Attributes:
        batch: pairs.
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
    """Forward and backward of a batch as one call, in which a module's weights can be replaced.

    What is checkpointed is computed again on the way back, so that both ways belong in the call.
    """

    def __init__(self, dual: DualTower) -> None:
        super().__init__()
        self.dual = dual

    def forward(self, inputs: tuple, precision: str, meter: Meter) -> tuple[int, int]:
        """Operations of the way forward, and bytes held after it."""
        with torch.autocast("cpu", DTYPES[precision], enabled=precision != "fp32"):
            images, texts = self.dual.embed_images(inputs[0]), self.dual.embed_texts(inputs[1])
        forward, saved = meter.flops, meter.now
        (images.sum() + texts.sum()).backward()
        return forward, saved


def trace(dual: DualTower, batch: int, precision: str = "fp32", *, cached: bool = False) -> Trace:
    """Trace one step of a pair in training mode.

    A frozen tower, whoever locked it, goes forward in evaluation mode and leaves nothing behind for
    the way back.

    Args:
        dual: on any device, the meta device too; it is not touched.
        batch: pairs on the device.
        precision: "fp32", or "bf16" or "fp16" for arithmetic under autocast.
        cached: whether a frozen image tower takes no part, its features read from a cache, as in
            runs with `Recipe.cache_features`.

    Raises:
        ValueError: another precision, an empty batch, or a tower that packs its texts.
    """
    if precision not in DTYPES or batch < 1:
        raise ValueError(
            f"expected a precision of {', '.join(DTYPES)} and batch >= 1, got {precision!r} and "
            f"{batch}"
        )
    read = cached and dual.image.frozen
    inputs = [_features(dual.image) if read else _inputs(dual.image), _inputs(dual.text)]
    step = Step(dual)
    with _training(dual), FakeTensorMode(allow_non_fake_inputs=True):
        fakes: dict[Tensor, Tensor] = {}
        weights = {}
        for name, tensor in state(step):
            if tensor not in fakes:
                fakes[tensor] = _like(tensor)
            weights[name] = fakes[tensor]
        try:
            return measured(step, weights, tuple(_fake(each, batch) for each in inputs), precision)
        except DynamicOutputShapeException:
            raise ValueError(
                f"expected towers whose shapes do not depend on what they read, got {dual.name}; "
                "trace packed texts as whole pages, packed=false"
            ) from None


def measured(step: Step, weights: dict[str, Tensor], inputs: tuple, precision: str) -> Trace:
    """What a step takes, on whatever tensors are given: fake ones, or real ones.

    Args:
        step: of a pair in training mode.
        weights: instead of the pair's own, named by `state`; their gradients are dropped.
        inputs: a batch for each tower.
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
    return Trace(
        len(given[0]), forward, meter.flops, sum(each.nbytes for each in given), saved, meter.peak
    )


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


def _like(tensor: Tensor) -> Tensor:
    """A fake tensor of the same shape, strides and type."""
    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    return fake.requires_grad_(tensor.requires_grad)


def _features(tower: Tower) -> Tensor:
    """The shape of one input's features on the meta device."""
    return torch.empty(1, tower.width, device="meta")


def _inputs(tower: Tower) -> Tensor | dict[str, Tensor]:
    """Shapes of one input on the meta device."""
    single = example(tower, 1)
    if isinstance(single, Tensor):
        return single.to("meta")
    return {name: tensor.to("meta") for name, tensor in single.items()}


def _fake(given: Tensor | dict[str, Tensor], batch: int) -> Tensor | dict[str, Tensor]:
    if isinstance(given, dict):
        return {name: _fake(tensor, batch) for name, tensor in given.items()}
    return torch.empty(batch, *given.shape[1:], dtype=given.dtype, device="cpu")


@contextlib.contextmanager
def _training(module: nn.Module) -> Iterator[None]:
    """Training mode, but for frozen towers; every module's own mode comes back."""
    modes = {each: each.training for each in module.modules()}
    brought = {tower: (tower.named, tower.moved) for tower in (module.image, module.text)}
    module.train()
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode
        for tower, (named, moved) in brought.items():
            tower.named, tower.moved = named, moved
