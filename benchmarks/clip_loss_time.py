"""Forward and backward of the contrastive loss in float32."""

from collections.abc import Callable
from functools import partial

import open_clip

from benchmarks._clip_losses import THREADS, pairs, same, step
from towers.losses import tiled_clip_loss

METRIC = "contrastive loss, forward + backward, {batch:,} x {embed}, fp32"
PEER = "open_clip ClipLoss"
GOAL = 2.0  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}  # fewer are slower: it is matrix products
SIZES = {
    "full": {"batch": 16_384, "embed": 512},
    "laptop": {"batch": 4_096, "embed": 512},
    "smoke": {"batch": 256, "embed": 64},
}


def prepare(batch: int, embed: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each giving loss and gradients."""
    leaves = pairs(batch, embed)
    ours, peer = tiled_clip_loss, open_clip.ClipLoss()
    return partial(step, ours, leaves, THREADS), partial(step, peer, leaves)


agree = same
