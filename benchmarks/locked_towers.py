"""An epoch, not the first, of training projections between two locked towers.

open_clip's own loop, with `--lock-image` and `--lock-text` up to the projections, runs both towers
forward in every epoch; ours did so once and goes on with their features. The same projections are
trained by the same optimiser on the same batches, in fp32. Making the features takes about one
forward pass of the peer's, and is not counted.
"""

from collections.abc import Callable

import torch

from benchmarks import _pairs
from benchmarks._clip_losses import THREADS
from towers.training.batches import Batch

METRIC = "an epoch over {pairs} pairs, towers locked, {width} wide, {depth} deep, {image} px"
PEER = "open_clip_train train_one_epoch, --lock-image --lock-text"
GOAL = 10.0  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}  # fewer are slower: it is matrix products
SIZES = _pairs.EPOCHS


def prepare(pairs: int, batch: int, **shape: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each the losses of its next epoch's updates."""
    dual = _pairs.pair(**shape)
    both = [
        (dual.image.transform.normalised(pixels), ids)
        for pixels, ids in _pairs.inputs(dual, batch, pairs // batch)
    ]
    twin = _pairs.twin(dual)
    twin.lock_image_tower(unlocked_groups=1)  # its last group is the projection
    twin.lock_text_tower()
    twin.text_projection.requires_grad_(True)
    epoch = _pairs.epoch(twin, both)
    dual.image.freeze(), dual.text.freeze()
    with torch.no_grad():
        features = [Batch(dual.image(images), dual.text({"ids": ids})) for images, ids in both]
    loop = _pairs.trainer(dual, "fp32")

    def ours() -> list[float]:
        torch.set_num_threads(THREADS)
        return _pairs.updates(loop, features)

    def peer(threads: int) -> list[float]:
        torch.set_num_threads(threads)
        return epoch()

    return ours, peer


def agree(ours: list[float], peer: list[float]) -> bool:
    """The same loss at each update, in float32; each update carries rounding on."""
    return all(abs(own - theirs) <= 1e-4 * theirs for own, theirs in zip(ours, peer, strict=True))
