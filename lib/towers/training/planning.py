"""Before a run is launched: what it would take, found without computing anything."""

import contextlib
from collections.abc import Iterator
from typing import get_args

from towers.models import DualTower
from towers.models.counting import parameters
from towers.training import adafactor
from towers.training.budget import ACCELERATORS, FP32, GB, Accelerator, Plan, Sharding
from towers.training.tracing import trace


def plan(
    dual: DualTower,
    batch: int,
    samples: int,
    *,
    ranks: int = 1,
    precision: str = "bf16",
    chunk: int = 0,
    checkpointing: bool | None = None,
    sharding: Sharding = "ddp",
    accelerator: str | Accelerator = "A100-80GB",
    utilisation: float = 0.3,
    dollars: float | None = None,
    tile: int = 2048,
    overhead: float = 2 * GB,
    optimiser: str = "adamw",
    cached: bool = False,
) -> Plan:
    """What training a pair would take; nothing is computed, and no weight is needed.

    Args:
        dual: the pair, best on the meta device, locked as it is to be trained.
        batch: pairs per update, over all ranks.
        samples: pairs to see in all: the data's size times the epochs.
        ranks: devices.
        precision: "fp32", "bf16" or "fp16".
        chunk: pairs embedded at a time on a rank, under gradient caching; 0: all of the rank's.
        checkpointing: in the transformers of both towers (a ResNet has none); None leaves them as
            they are.
        sharding: see `Plan`.
        accelerator: a name of `ACCELERATORS`, or a device of your own.
        utilisation: share of the device's peak, above 0 and at most 1.
        dollars: per device and hour; None: the accelerator's own assumption.
        tile: rows and columns of a tile of the loss.
        overhead: bytes for what is not counted.
        optimiser: "adamw" or "adafactor".
        cached: whether features of a frozen image tower are read from a cache, as in runs with
            `Recipe.cache_features`; else it computes them in every update.

    Raises:
        ValueError: a batch that the ranks cannot share, or another impossible value.

    Source: Radford et al. 2021, section 2.5 (what they did to save memory and time).
    """
    device = _device(accelerator, precision)
    _check(dual, batch, samples, ranks, chunk, utilisation, sharding)
    share = batch // ranks
    part = min(chunk, share) or share
    with _checkpointing(dual, checkpointing):
        traced = trace(dual, part, precision, cached=cached)
    again = traced.forward_flops if part < share else 0  # gradient caching embeds twice
    products = 4 * 2 * share * batch * dual.embed  # one forward, three backward
    return Plan(
        dual.name, device, ranks, batch, part, precision, sharding, _trained(dual), samples,
        **_state(dual, ranks, sharding, optimiser),
        inputs=traced.inputs * share / part,
        activations=traced.peak,
        embeddings=2 * 2 * FP32 * batch * dual.embed,
        loss=3 * FP32 * min(tile, batch) ** 2,
        overhead=overhead,
        flops=(traced.flops + again) * share / part + products,
        utilisation=utilisation,
        dollars=device.dollars if dollars is None else dollars,
        cached=cached,
    )  # fmt: skip


def _state(dual: DualTower, ranks: int, sharding: Sharding, optimiser: str) -> dict[str, float]:
    """Bytes per device of what outlives a step, and of weights and gradients on their way."""
    trained, moments = FP32 * _trained(dual), 2 * FP32 * _trained(dual)
    if optimiser == "adafactor":
        moments = sum(adafactor.held(each) for each in dual.parameters() if each.requires_grad)
    held = {"weights": FP32 * parameters(dual), "gradients": trained, "moments": moments}
    if ranks == 1:
        return held | {"transient": 0}
    if sharding == "ddp":
        return held | {"transient": trained}
    together = held["weights"] + trained  # one group, see `training.sharding`
    return {name: bytes_ / ranks for name, bytes_ in held.items()} | {"transient": together}


def _trained(dual: DualTower) -> int:
    return sum(each.numel() for each in dual.parameters() if each.requires_grad)


def _device(accelerator: str | Accelerator, precision: str) -> Accelerator:
    device = ACCELERATORS.get(accelerator) if isinstance(accelerator, str) else accelerator
    if device is None:
        raise ValueError(
            f"expected an accelerator of {', '.join(ACCELERATORS)}, got {accelerator!r}; "
            "give an Accelerator of your own"
        )
    if precision not in device.flops:
        raise ValueError(
            f"expected a precision of {device.name} ({', '.join(device.flops)}), got "
            f"{precision!r}; choose another precision or device"
        )
    return device


def _check(
    dual: DualTower, batch: int, samples: int, ranks: int, chunk: int, utilisation: float,
    sharding: str,
) -> None:  # fmt: skip
    """Refuse what no run can be."""
    if ranks < 1 or batch < 2 or batch % ranks or samples < batch:
        raise ValueError(
            "expected ranks >= 1, a batch >= 2 that they share evenly, and samples for one batch, "
            f"got {ranks} ranks, batch {batch} and {samples} samples"
        )
    if chunk < 0 or not 0 < utilisation <= 1 or sharding not in get_args(Sharding):
        raise ValueError(
            "expected chunk >= 0, utilisation in (0, 1] and sharding ddp or fsdp, got "
            f"{chunk}, {utilisation} and {sharding!r}"
        )
    if not _trained(dual):
        raise ValueError(f"expected something to train in {dual.name}, got frozen weights only")


@contextlib.contextmanager
def _checkpointing(dual: DualTower, wanted: bool | None) -> Iterator[None]:
    """Checkpointing on or off in both towers; what they had comes back."""
    able = [each for each in dual.modules() if hasattr(each, "grad_checkpointing")]
    if wanted and not able:
        raise ValueError(
            f"expected a tower that can checkpoint in {dual.name}, got none; transformers can"
        )
    had = [each.grad_checkpointing for each in able]
    for each in able:
        each.grad_checkpointing = each.grad_checkpointing if wanted is None else wanted
    try:
        yield
    finally:
        for each, before in zip(able, had, strict=True):
            each.grad_checkpointing = before
