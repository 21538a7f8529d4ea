"""Forward and backward of the contrastive loss, 16,384 pairs of 512 float32 numbers."""

from collections.abc import Callable
from functools import partial

import open_clip

from benchmarks._clip_losses import BATCH, EMBED, THREADS, pairs, same, step
from towers.losses import tiled_clip_loss

METRIC = f"contrastive loss, forward + backward, {BATCH:,} x {EMBED}, fp32"
PEER = "open_clip ClipLoss"
GOAL = 2.0  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}  # fewer are slower: it is matrix products


def prepare(batch: int = BATCH, embed: int = EMBED) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each giving loss and gradients."""
    leaves = pairs(batch, embed)
    ours, peer = tiled_clip_loss, open_clip.ClipLoss()
    return partial(step, ours, leaves, THREADS), partial(step, peer, leaves)


agree = same
