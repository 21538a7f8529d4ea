"""Extra peak memory of the contrastive loss in float32.

Each side runs in its own process, and its growth from after the inputs are made is counted: with
gradients, without inputs and libraries.
"""

from collections.abc import Callable
from functools import partial

import open_clip

from benchmarks._clip_losses import THREADS, pairs, step
from benchmarks._memory import extra_peak, in_child
from towers.losses import tiled_clip_loss

METRIC = "contrastive loss, extra peak memory, {batch:,} x {embed}, fp32"
PEER = "open_clip ClipLoss"
GOAL = 20.0  # times less memory
UNIT = "GB"
REPEATS = 2  # it hardly varies
PEER_SETTINGS = {"threads": (THREADS,)}
SIZES = {
    "full": {"batch": 16_384, "embed": 512},
    "laptop": {"batch": 4_096, "embed": 512},
    "smoke": {"batch": 2_048, "embed": 128},
}


def prepare(batch: int, embed: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each giving its memory and what it found."""
    ours, peer = (partial(in_child, _measure, side, batch, embed) for side in ("ours", "peer"))
    return partial(ours, THREADS), lambda threads: peer(threads)


def measure(call: Callable, **setting: int) -> tuple[float, list[float]]:
    """GB, and loss and sums of the gradients."""
    return call(**setting)


def agree(ours: list[float], peer: list[float]) -> bool:
    """Loss and norms of gradients; `clip_loss_time` compares every entry."""
    return all(
        abs(own - theirs) <= 1e-4 * abs(theirs) for own, theirs in zip(ours, peer, strict=True)
    )


def _measure(side: str, batch: int, embed: int, threads: int) -> tuple[float, list[float]]:
    loss_of = {"ours": tiled_clip_loss, "peer": open_clip.ClipLoss()}[side]
    step(loss_of, pairs(64, embed), threads)  # libraries take their own memory first
    leaves = pairs(batch, embed)
    amount, found = extra_peak(lambda: step(loss_of, leaves, threads))
    return amount, [part.double().norm().item() for part in found]
