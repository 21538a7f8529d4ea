"""Updates of one CLIP pair from scratch: our loop at its best on a processor, open_clip's own loop.

Both train the same weights on the same batches, ours from pixels of one byte. What brings the ratio
is bf16 arithmetic in the towers (autocast), and one fused pass of AdamW over the weights, of which
two fifths are the table of words; weights, moments and the loss stay in fp32 on both sides.
The notes count the operations of all matrix products and convolutions, attention's apart, beside
what a large matrix product reaches on the same threads.
"""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks import _pairs
from benchmarks._clip_losses import THREADS
from towers.evaluation import machine
from towers.training.batches import Batch
from towers.training.tracing import trace

METRIC = "{steps} updates of {batch} pairs, transformers {width} wide, {depth} deep, {image} px"
PEER = "open_clip_train train_one_epoch, eager fp32"
GOAL = 1.5  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}  # fewer are slower: it is matrix products
SIZES = {
    "full": {"batch": 32, "steps": 2, "image": 224, "patch": 32, "width": 384, "depth": 12,
             "context": 77},
    "laptop": {"batch": 32, "steps": 2, "image": 96, "patch": 16, "width": 192, "depth": 4,
               "context": 32},
    "smoke": {"batch": 4, "steps": 2, "image": 32, "patch": 16, "width": 64, "depth": 1,
              "context": 8},
}  # fmt: skip


def prepare(batch: int, steps: int, **shape: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each going on for `steps` updates: their losses."""
    dual = _pairs.pair(**shape)
    both = _pairs.inputs(dual, batch, steps)
    floats = [(dual.image.transform.normalised(pixels), ids) for pixels, ids in both]
    peer = _pairs.epoch(_pairs.twin(dual), floats)
    batches = [Batch(pixels, {"ids": ids}) for pixels, ids in both]
    ours = partial(_pairs.updates, _pairs.trainer(dual, "bf16"), batches)
    return partial(_threaded, ours, THREADS), lambda threads: _threaded(peer, threads)


def agree(ours: list[float], peer: list[float]) -> bool:
    """The same losses, the last one after an update, as far as bf16 can tell.

    Its features are right to 2 ** -8; the scale of 14 multiplies that, a mean over many pairs takes
    most of it away again.
    """
    return all(abs(own - theirs) <= 0.01 for own, theirs in zip(ours, peer, strict=True))


def notes(ours: float, peer: float, batch: int, steps: int, **shape: int) -> dict[str, float]:
    """Shares of what the machine's matrix products reach, in each side's own precision."""
    flops = steps * trace(_pairs.pair(**shape, device="meta"), batch, "fp32").flops
    torch.set_num_threads(THREADS)
    narrow, wide = (machine.gemm_flops(dtype) for dtype in (torch.bfloat16, torch.float32))
    return {
        "share of the bf16 GEMM limit": flops / ours / narrow,
        "peer's share of the fp32 GEMM limit": flops / peer / wide,
        "bf16 GEMM (GFLOP/s)": narrow / 1e9,
        "fp32 GEMM (GFLOP/s)": wide / 1e9,
    }


def _threaded(call: Callable, threads: int) -> list[float]:
    torch.set_num_threads(threads)
    return call()
