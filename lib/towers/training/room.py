"""Whether this machine has the memory and the time for a run, asked before any data is read."""

import math
import os

import psutil
import torch

from towers.experiments.limits import MINUTES
from towers.models import DualTower
from towers.training.errors import TrainingError
from towers.training.plans import ACCELERATORS, GB, Accelerator, Plan, plan
from towers.training.recipe import Recipe

CORE = 200e9
"""Operations per second that no core of today exceeds in fp32."""
SMALL = 300
"""Bytes of activations for each byte of a picture that no tower of the book exceeds."""
PREDICTED = ("clip", "bag-of-words", "captions")
"""Objectives whose plan is that of the pair."""


def check(recipe: Recipe, network: DualTower, ranks: int) -> None:
    """Refuse a run that does not fit the memory, or would take longer than `TOWERS_MINUTES`.

    What is small at a glance is not traced. Time is that of the device's peak: no run is refused
    that might have made it. What cannot be planned is not refused either: fine-tuning, and towers
    whose shapes depend on what they read.

    Args:
        recipe: of the run.
        network: the pair that it begins with, locked as it will be.
        ranks: that share the batch.

    Raises:
        TrainingError: it does not fit, or takes too long; the line says what would.
    """
    said = os.environ.get(MINUTES) or "inf"
    try:
        minutes = float(said)
    except ValueError:
        raise TrainingError(f"expected minutes as a number in {MINUTES}, got {said!r}") from None
    device = here(recipe.precision, ranks)
    if recipe.cache_features or recipe.objective not in PREDICTED:
        return
    if math.isinf(minutes) and _small(recipe, network, ranks, device):
        return
    try:
        planned = _plan(recipe, network, ranks, device)
    except ValueError:
        return
    where = f"{ranks} x {device.name} with {device.memory / GB:.0f} GB"
    if not planned.fits:
        raise TrainingError(
            f"expected a run that fits {where}, got a plan of {planned.memory / GB:,.0f} GB on "
            f"each for {recipe.title}; {_remedy(recipe, network, ranks, device, planned)}"
        )
    if recipe.steps and 24 * 60 * planned.days > minutes:
        raise TrainingError(
            f"expected a run of at most {minutes:g} minutes, got a plan of at least "
            f"{24 * planned.days:,.0f} hours on {where} for {recipe.title}; use more or quicker "
            f"devices, fewer steps, or set {MINUTES}"
        )


def here(precision: str, ranks: int = 1) -> Accelerator:
    """What this machine has for each rank: an accelerator, or a share of its cores and memory.

    Args:
        precision: that its speed is asked in; that of an unknown accelerator is infinite.
        ranks: that share the cores, where there is no accelerator.
    """
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        known = [a.flops for a in ACCELERATORS.values() if a.name.split("-")[0] in found.name]
        flops = known[0].get(precision, math.inf) if known else math.inf
        return Accelerator(found.name, found.total_memory, {precision: flops}, 0.0)
    cores = (os.cpu_count() or 1) / ranks
    memory = psutil.virtual_memory().total / ranks
    return Accelerator(f"CPU of {cores:g} cores", memory, {precision: CORE * cores}, 0.0)


def _small(recipe: Recipe, network: DualTower, ranks: int, device: Accelerator) -> bool:
    """Whether nobody need trace a run to see that it fits."""
    size = network.image.transform.size
    pictures = _part(recipe, ranks) * 3 * 4 * size * size
    weights = sum(weight.numel() for weight in network.parameters())
    return 16 * weights + SMALL * pictures < device.memory / 2


def _part(recipe: Recipe, ranks: int) -> int:
    """Pairs that a rank embeds at a time."""
    share = recipe.batch // ranks // recipe.accumulate
    return min(recipe.chunk or share, share)


def _plan(
    recipe: Recipe, network: DualTower, ranks: int, device: Accelerator, chunk: int = 0
) -> Plan:
    return plan(
        network, recipe.batch, max(recipe.steps, 1) * recipe.batch, name=recipe.title, ranks=ranks,
        precision=recipe.precision, chunk=chunk or _part(recipe, ranks),
        sharding="fsdp" if recipe.shard else "ddp", accelerator=device, utilisation=1.0,
        tile=recipe.tile, optimiser=recipe.optimiser, overhead=GB / 2,
    )  # fmt: skip


def _remedy(
    recipe: Recipe, network: DualTower, ranks: int, device: Accelerator, planned: Plan
) -> str:
    """What would make it fit: smaller chunks if they do, else what else there is."""
    free = device.memory - planned.memory + planned.held["activations"]
    share = free / planned.held["activations"] * _part(recipe, ranks)
    if recipe.objective == "clip" and recipe.accumulate == 1 and share >= 1:
        chunk = 2 ** int(math.log2(share))
        smaller = _plan(recipe, network, ranks, device, chunk)
        if smaller.fits:
            return f"chunk: {chunk} takes {smaller.memory / GB:,.0f} GB"
    return (
        "use more ranks, ?checkpointing=true behind the towers' names, shard: true, precision "
        "bf16, or smaller towers"
    )
