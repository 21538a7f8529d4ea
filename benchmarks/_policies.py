"""One pair under several policies: LilT's, lighter ones, and the one that lets everything move."""

import torch

from benchmarks import _pairs
from towers.models import trainable
from towers.training.batches import Batch
from towers.training.loop import Trainer

LILT, FULL = "layerwise?zero=true+layer-norms", "everything"
"""Adapters begin as the identity, so that both see the same first loss."""
LIGHTER = {"projections": "projections", "layer norms": "layer-norms"}
"""Notes of a benchmark: name -> policy that moves less than LilT's."""
SIZES = {
    "full": {"batch": 32, "image": 224, "patch": 32, "width": 384, "depth": 12, "context": 32},
    "laptop": {"batch": 32, "image": 96, "patch": 16, "width": 192, "depth": 4, "context": 32},
    "smoke": {"batch": 4, "image": 32, "patch": 16, "width": 64, "depth": 1, "context": 8},
}


def ready(policy: str, batch: int, **shape: int) -> tuple[Trainer, Batch]:
    """A loop under a policy, and a batch of noise."""
    dual = trainable.apply(_pairs.pair(**shape), policy).train()
    ((pixels, ids),) = _pairs.inputs(dual, batch, 1)
    return _pairs.trainer(dual, "fp32"), Batch(pixels, {"ids": ids})


def update(loop: Trainer, batch: Batch, threads: int) -> float:
    """One update: the loss before it."""
    torch.set_num_threads(threads)
    return _pairs.updates(loop, [batch])[0]
