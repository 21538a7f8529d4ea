"""An epoch, not the first, of training a text tower against a locked image tower.

open_clip's own loop with `--lock-image` runs the image tower forward in every epoch; ours did so
once and goes on with its features. The text tower goes forward and back in every epoch on both
sides, since its weights change: no features of it can be kept. So what is kept can take away only
the image tower's forward pass. A fused AdamW, and bf16 in the text tower, bring the rest; the notes
tell these apart. Making the features takes about one forward pass of the peer's, and is not
counted.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import _pairs
from benchmarks._clip_losses import THREADS
from towers import models
from towers.training.batches import Batch

METRIC = (
    "an epoch over {pairs} pairs, image tower locked, {width} wide, {depth} deep, {image} px, "
    "{context} tokens"
)
PEER = "open_clip_train train_one_epoch, --lock-image"
GOAL = 10.0  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}  # fewer are slower: it is matrix products
SIZES = _pairs.EPOCHS


def prepare(pairs: int, batch: int, **shape: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each the losses of its next epoch's updates."""
    dual, both = _drawn(pairs, batch, shape)
    twin = _pairs.twin(dual)
    twin.lock_image_tower()
    peer = _pairs.epoch(twin, both)
    ours = _epoch(dual, both, "bf16")
    return partial(_threaded, ours, THREADS), lambda threads: _threaded(peer, threads)


def agree(ours: list[float], peer: list[float]) -> bool:
    """The same losses at each update, as far as bf16 can tell: see `training_step`."""
    return all(abs(own - theirs) <= 0.01 for own, theirs in zip(ours, peer, strict=True))


def notes(ours: float, peer: float, pairs: int, batch: int, **shape: int) -> dict[str, float]:
    """What an epoch of ours takes less in the peer's precision, and what the image tower takes."""
    dual, both = _drawn(pairs, batch, shape)
    wide = _epoch(dual, both, "fp32")
    forward = partial(_features, dual, both)
    alike, locked = (
        statistics.median(_seconds(partial(_threaded, call, THREADS)) for _ in range(3))
        for call in (wide, forward)
    )
    return {
        "times less in fp32 on both sides": peer / alike,
        "image tower's share of the peer's epoch": locked / peer,
    }


def _drawn(
    pairs: int, batch: int, shape: dict[str, int]
) -> tuple[models.DualTower, list[tuple[Tensor, Tensor]]]:
    """A pair of towers, and batches of normalised pictures with captions."""
    dual = _pairs.pair(**shape)
    drawn = _pairs.inputs(dual, batch, pairs // batch)
    return dual, [(dual.image.transform.normalised(pixels), ids) for pixels, ids in drawn]


def _epoch(
    dual: models.DualTower, both: list[tuple[Tensor, Tensor]], precision: str
) -> Callable[[], list[float]]:
    """Our epoch on features that were computed before; the image projection is locked as well."""
    dual.image.freeze()
    dual.image_proj.requires_grad_(False)
    features = _features(dual, both)
    batches = [Batch(own, {"ids": ids}) for own, (_, ids) in zip(features, both, strict=True)]
    return partial(_pairs.updates, _pairs.trainer(dual, precision), batches)


@torch.no_grad()
def _features(dual: models.DualTower, both: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The image tower's forward passes of one epoch."""
    return [dual.image(images) for images, _ in both]


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _threaded(call: Callable, threads: int) -> list:
    torch.set_num_threads(threads)
    return call()
