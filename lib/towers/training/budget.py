"""What a run takes: its steps, memory per device, time and cost, and what they rest on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from towers.records import Measurement

Sharding = Literal["ddp", "fsdp"]
GB, DAY = 1e9, 86_400
FP32 = 4
"""Bytes of a number in weights, gradients, moments and loss."""


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
    each.name: each
    for each in (
        Accelerator("V100-32GB", 32 * GB, {"fp32": 15.7e12, "fp16": 125e12}, 1.0),
        Accelerator("A100-80GB", 80 * GB, {"fp32": 19.5e12, "bf16": 312e12, "fp16": 312e12}, 2.0),
        Accelerator("H100-80GB", 80 * GB, {"fp32": 67e12, "bf16": 989e12, "fp16": 989e12}, 3.0),
    )
}
"""Peaks from the makers' data sheets, without sparsity; fp32 without reduced-precision modes."""


@dataclass(frozen=True)
class Plan:
    """What a run is expected to take. Memory is per device, in bytes.

    Attributes:
        model: name of the pair.
        accelerator: the device.
        ranks: devices.
        batch: pairs per update, over all ranks.
        chunk: pairs that one rank embeds at a time.
        precision: of the towers' arithmetic.
        sharding: "ddp" keeps everything on every rank; "fsdp" shares weights, gradients, moments
            between updates.
        parameters: trainable numbers.
        samples: pairs seen in all.
        weights: all of them, trainable or frozen, in fp32.
        gradients: in fp32.
        moments: of the optimiser: AdamW's two in fp32, or Adafactor's.
        transient: gradients on their way (ddp), or all weights and all gradients, which are
            together while a batch goes forward and back (fsdp); nothing on a single rank.
        inputs: pictures and tokens of a chunk.
        activations: the most that forward and backward of a chunk hold at any moment.
        embeddings: of all ranks, both sides, with their gradients.
        loss: tiles of the similarity matrix.
        overhead: of context and libraries, assumed.
        flops: operations per update and device.
        utilisation: share of the peak that is reached, assumed.
        dollars: per device and hour, assumed.
        cached: whether features of a frozen image tower are read from a cache.
    """

    model: str
    accelerator: Accelerator
    ranks: int
    batch: int
    chunk: int
    precision: str
    sharding: Sharding
    parameters: int
    samples: int
    weights: float
    gradients: float
    moments: float
    transient: float
    inputs: float
    activations: float
    embeddings: float
    loss: float
    overhead: float
    flops: float
    utilisation: float
    dollars: float
    cached: bool = False

    @property
    def steps(self) -> int:
        """Updates in all; samples that fill no batch are dropped."""
        return self.samples // self.batch

    @property
    def memory(self) -> float:
        """Bytes per device at the worst moment."""
        return sum(getattr(self, name) for name in MEMORY)

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
        again = "are computed in every update"
        return (
            f"{self.accelerator.name}: {peak:g} TFLOP/s in {self.precision} at its peak, of which "
            f"{self.utilisation:.0%} are reached; {self.dollars:g} dollars an hour",
            "data and communication hide behind arithmetic",
            "weights, gradients and AdamW's moments stay in fp32; arithmetic is autocast",
            f"{self.overhead / GB:g} GB for context, libraries and gaps between blocks of memory",
            f"features of a frozen image tower {'come from a cache' if self.cached else again}",
        )

    def summary(self) -> dict[str, object]:
        """What most want to know, as a row of a table."""
        return {
            "model": self.model,
            "parameters (million)": self.parameters / 1e6,
            "updates": self.steps,
            "memory (GB per device)": self.memory / GB,
            "fits": self.fits,
            "days": self.days,
            "device hours": 24 * self.days * self.ranks,
            "cost (dollars)": self.cost,
        }

    def frame(self) -> pd.DataFrame:
        """One row a quantity: `quantity`, `value`, `unit`, and `how` it was found."""
        memory = [
            (name, getattr(self, name) / GB, "GB per device", MEMORY[name]) for name in MEMORY
        ]
        rows = [
            ("updates", self.steps, "", f"{self.samples:,} pairs by {self.batch:,}"),
            ("trainable parameters", self.parameters / 1e6, "million", "counted"),
            *memory,
            ("memory", self.memory / GB, "GB per device", "sum of the above"),
            ("operations", self.flops / 1e12, "TFLOP per update and device", "traced"),
            ("update", self.seconds_per_step, "s", "operations by peak and utilisation"),
            ("run", self.days, "days", "updates by seconds"),
            ("device time", 24 * self.days * self.ranks, "hours", f"on {self.ranks:,} devices"),
            ("cost", self.cost, "dollars", "device time by its price"),
        ]
        return pd.DataFrame(rows, columns=["quantity", "value", "unit", "how"])


MEMORY = {
    "weights": "4 bytes each",
    "gradients": "4 bytes each",
    "moments": "8 bytes each; Adafactor: 2, and its rows and columns",
    "transient": "gradients in buckets, or weights and gradients together for use",
    "inputs": "a chunk's pictures and tokens",
    "activations": "traced, forward and backward of a chunk",
    "embeddings": "all pairs, both sides, with gradients",
    "loss": "three tiles",
    "overhead": "assumed",
}
"""The parts of a device's memory, and how each is found."""


def evaluate(plans: Sequence[Plan]) -> list[Measurement]:
    """Memory, days and cost of plans as records; the assumptions are each plan's own."""
    return [
        Measurement(
            model=each.model, data=f"{each.ranks} x {each.accelerator.name}", metric=metric,
            value=float(value), n=1,
        )
        for each in plans
        for metric, value in (
            ("planned memory per device (GB)", each.memory / GB),
            ("planned days", each.days),
            ("planned cost (dollars)", each.cost),
        )
    ]  # fmt: skip
