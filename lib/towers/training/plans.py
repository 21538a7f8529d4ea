"""What a run would take, before it is launched: updates, memory per device, time and cost.

Nothing is computed: a model on the meta device has shapes and no memory, and a step is traced
there. What cannot be counted is assumed, and `Plan.assumptions` says it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd
from torch import Tensor, nn

from towers.models import DualTower
from towers.models.counting import parameters
from towers.records import Measurement
from towers.training import adafactor
from towers.training.tracing import trace

Sharding = Literal["ddp", "fsdp"]
GB, DAY = 1e9, 86_400
FP32 = 4
"""Bytes of a number in weights, gradients, moments and loss."""

MOMENTS: dict[str, Callable[[Tensor], int]] = {
    "adamw": lambda weight: 2 * FP32 * weight.numel(),
    "sgd": lambda weight: FP32 * weight.numel(),
    "adafactor": adafactor.held,
}
"""Bytes that an optimiser holds for a weight; SGD is that with momentum."""

MEMORY = {
    "weights": "all of them, trainable or frozen, 4 bytes each",
    "gradients": "4 bytes each",
    "moments": "8 bytes each; SGD: 4; Adafactor: 2, and its rows and columns",
    "transient": "gradients in buckets, or weights and gradients together for use",
    "inputs": "a chunk's pictures and tokens",
    "activations": "traced, forward and backward of a chunk",
    "embeddings": "all pairs, both sides, with gradients",
    "loss": "three tiles",
    "overhead": "of context and libraries, assumed",
}
"""The parts of a device's memory, and how each is counted."""


@dataclass(frozen=True)
class Accelerator:
    """A device as its maker states it, and what an hour of it is taken to cost.

    Attributes:
        name: of the device.
        memory: in bytes.
        flops: peak of dense matrix products per second, by precision.
        dollars: per device and hour; a round assumption, not an offer.
    """

    name: str
    memory: float
    flops: dict[str, float]
    dollars: float


ACCELERATORS = {
    device.name: device
    for device in (
        Accelerator("V100-32GB", 32 * GB, {"fp32": 15.7e12, "fp16": 125e12}, 1.0),
        Accelerator("A100-80GB", 80 * GB, {"fp32": 19.5e12, "bf16": 312e12, "fp16": 312e12}, 2.0),
        Accelerator("H100-80GB", 80 * GB, {"fp32": 67e12, "bf16": 989e12, "fp16": 989e12}, 3.0),
    )
}
"""Peaks from the makers' data sheets, without sparsity; fp32 without reduced-precision modes."""


@dataclass(frozen=True)
class Plan:
    """What a run is expected to take.

    Attributes:
        model: name of what is trained.
        accelerator: the device.
        ranks: devices.
        batch: pairs, or items, per update, over all ranks.
        precision: of the towers' arithmetic.
        parameters: trainable numbers.
        seen: pairs, or items, in all.
        held: part of `MEMORY` -> bytes per device.
        flops: operations per update and device.
        utilisation: share of the peak that is reached, assumed.
        dollars: per device and hour, assumed.
        cached: whether features of a frozen image tower are read from a cache.
    """

    model: str
    accelerator: Accelerator
    ranks: int
    batch: int
    precision: str
    parameters: int
    seen: int
    held: Mapping[str, float]
    flops: float
    utilisation: float
    dollars: float
    cached: bool = False

    @property
    def steps(self) -> int:
        """Updates in all; samples that fill no batch are dropped."""
        return self.seen // self.batch

    @property
    def memory(self) -> float:
        """Bytes per device at the worst moment."""
        return sum(self.held[part] for part in MEMORY)

    @property
    def fits(self) -> bool:
        """Whether the device has that memory."""
        return self.memory <= self.accelerator.memory

    @property
    def seconds_per_step(self) -> float:
        """Of an update, with nothing to wait for but arithmetic."""
        return self.flops / (self.accelerator.flops[self.precision] * self.utilisation)

    @property
    def days(self) -> float:
        """Of the whole run."""
        return self.steps * self.seconds_per_step / DAY

    @property
    def cost(self) -> float:
        """Of the whole run, in dollars."""
        return 24 * self.days * self.ranks * self.dollars

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the figures rest on besides counting."""
        peak = self.accelerator.flops[self.precision] / 1e12
        features = "come from a cache" if self.cached else "are computed in every update"
        return (
            f"{self.accelerator.name}: {peak:g} TFLOP/s in {self.precision} at its peak, of which "
            f"{self.utilisation:.0%} are reached; {self.dollars:g} dollars an hour",
            "data and communication hide behind arithmetic",
            "weights, gradients and AdamW's moments stay in fp32; arithmetic is autocast",
            f"{self.held['overhead'] / GB:g} GB for context, libraries and gaps between blocks of "
            "memory",
            f"features of a frozen image tower {features}",
        )

    def summary(self) -> dict[str, object]:
        """What most want to know, as a row of a table; hours and days are of the whole run."""
        return {
            "model": self.model,
            "parameters": self.parameters,
            "updates": self.steps,
            "batch": self.batch,
            "memory per device (GB)": self.memory / GB,
            "fits": self.fits,
            "hours": 24 * self.days,
            "days": self.days,
            "device hours": 24 * self.days * self.ranks,
            "cost (dollars)": self.cost,
        }

    def records(self, *metrics: str, at: Mapping[str, Any] | None = None) -> list[Measurement]:
        """Some of the summary's numbers; their data is the device, and n how many of it there are.

        Args:
            metrics: of `summary`; without any parameters, updates, batch, memory and days.
            at: conditions of all rows.
        """
        metrics = metrics or ("parameters", "updates", "batch", "memory per device (GB)", "days")
        row = self.summary()
        return [
            Measurement(model=self.model, data=self.accelerator.name, metric=metric,
                        value=row[metric], n=self.ranks, at=dict(at or {}))
            for metric in metrics
        ]  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """One row a quantity: `quantity`, `value`, `unit`, and `how` it was counted."""
        rows = [
            ("updates", self.steps, "", f"{self.seen:,} samples by {self.batch:,}"),
            ("trainable parameters", self.parameters / 1e6, "million", "counted"),
            *((part, self.held[part] / GB, "GB per device", how) for part, how in MEMORY.items()),
            ("memory", self.memory / GB, "GB per device", "sum of the above"),
            ("operations", self.flops / 1e12, "TFLOP per update and device", "traced"),
            ("update", self.seconds_per_step, "s", "operations by peak and utilisation"),
            ("run", self.days, "days", "updates by seconds"),
            ("device time", 24 * self.days * self.ranks, "hours", f"on {self.ranks:,} devices"),
            ("cost", self.cost, "dollars", "device time by its price"),
        ]
        return pd.DataFrame(rows, columns=["quantity", "value", "unit", "how"])


def plan(
    network: nn.Module,
    batch: int,
    seen: int,
    *,
    item: Any = None,
    name: str = "",
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
    """What training a pair of towers, or another network, would take; no weight is needed.

    Args:
        network: a `DualTower`, trained by CLIP's loss; or a network of one argument, whose loss
            and labels are not counted. Best on the meta device, locked as it is to be trained.
        batch: pairs, or items, per update, over all ranks.
        seen: pairs, or items, in all: the data's size times the epochs.
        item: input of one item, for a network that is no pair.
        name: in records; the pair's own, if empty.
        ranks: devices.
        precision: "fp32", "bf16" or "fp16".
        chunk: pairs embedded at a time on a rank, under gradient caching; 0: all of the rank's.
        checkpointing: in the transformers of the network (a ResNet has none); None leaves them as
            they are.
        sharding: "ddp" keeps everything on every rank; "fsdp" shares weights, gradients and moments
            between updates.
        accelerator: a name of `ACCELERATORS`, or a device of your own.
        utilisation: share of the device's peak, above 0 and at most 1.
        dollars: per device and hour; None: the accelerator's own assumption.
        tile: rows and columns of a tile of the loss.
        overhead: bytes for what is not counted.
        optimiser: of `MOMENTS`.
        cached: whether features of a frozen image tower are read from a cache, as in runs with
            `Recipe.cache_features`; else it computes them in every update.

    Raises:
        ValueError: a batch that the ranks cannot share, or another impossible value.

    Source: Radford et al. 2021, section 2.5 (what they did to save memory and time).
    """
    device, pair = _device(accelerator, precision), isinstance(network, DualTower)
    name = name or (network.name if pair else type(network).__name__)
    _check(network, name, batch, seen, ranks, chunk, utilisation, sharding, optimiser)
    share = batch // ranks
    part = min(chunk, share) or share
    traced = trace(network, part, precision, item=item, cached=cached, checkpointing=checkpointing)
    again = traced.forward_flops if part < share else 0  # gradient caching embeds twice
    embed = network.embed if pair else 0
    products = 4 * 2 * share * batch * embed  # one forward, three backward
    held = _state(network, ranks, sharding, optimiser) | {
        "inputs": traced.inputs * share / part,
        "activations": traced.peak,
        "embeddings": 2 * 2 * FP32 * batch * embed,
        "loss": 3 * FP32 * min(tile, batch) ** 2 if pair else 0,
        "overhead": overhead,
    }
    return Plan(
        name, device, ranks, batch, precision, _trained(network), seen, held,
        (traced.flops + again) * share / part + products, utilisation,
        device.dollars if dollars is None else dollars, cached,
    )  # fmt: skip


def _state(network: nn.Module, ranks: int, sharding: str, optimiser: str) -> dict[str, float]:
    """Bytes per device of what outlives a step, and of weights and gradients on their way."""
    trained = FP32 * _trained(network)
    moments = sum(MOMENTS[optimiser](w) for w in network.parameters() if w.requires_grad)
    held = {"weights": FP32 * parameters(network), "gradients": trained, "moments": moments}
    if ranks == 1:
        return held | {"transient": 0}
    if sharding == "ddp":
        return held | {"transient": trained}
    together = held["weights"] + trained  # one group, see `training.distributed`
    return {part: bytes_ / ranks for part, bytes_ in held.items()} | {"transient": together}


def _trained(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


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
    network: nn.Module, name: str, batch: int, seen: int, ranks: int, chunk: int,
    utilisation: float, sharding: str, optimiser: str,
) -> None:  # fmt: skip
    """Refuse what no run can be."""
    pair = isinstance(network, DualTower)
    if ranks < 1 or batch < 1 + pair or batch % ranks or seen < batch:
        raise ValueError(
            f"expected ranks >= 1, a batch >= {1 + pair} that they share evenly, and samples for "
            f"one batch, got {ranks} ranks, batch {batch} and {seen} samples"
        )
    if chunk < 0 or (chunk and not pair) or not 0 < utilisation <= 1:
        raise ValueError(
            "expected utilisation in (0, 1] and chunk >= 0, which is for pairs of towers alone, "
            f"got {utilisation} and {chunk}"
        )
    if sharding not in get_args(Sharding) or optimiser not in MOMENTS:
        raise ValueError(
            f"expected sharding ddp or fsdp and an optimiser of {', '.join(MOMENTS)}, got "
            f"{sharding!r} and {optimiser!r}"
        )
    if not _trained(network):
        raise ValueError(f"expected something to train in {name}, got frozen weights only")
