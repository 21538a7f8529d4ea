"""Extra peak memory per rank of the contrastive loss over several ranks, beside open_clip's."""

from collections.abc import Callable
from functools import partial

from benchmarks import _ranks

METRIC = "contrastive loss over {ranks} ranks, extra peak memory of one, {batch:,} x 512"
PEER = "open_clip ClipLoss(local_loss, gather_with_grad)"
GOAL = 5.0  # times less memory
UNIT = "GB"
REPEATS = 2  # it hardly varies
PEER_SETTINGS = {}
SIZES = {
    "full": {"batch": 16_384, "ranks": 4},
    "laptop": {"batch": 4_096, "ranks": 4},
    "smoke": {"batch": 1_024, "ranks": 2},
}


def prepare(batch: int, ranks: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(), each giving its memory and what it found."""

    def peer() -> tuple[float, list[float]]:
        amount, (loss, norm) = _ranks.per_rank("peer", ranks, batch)
        return amount, [loss, norm / ranks]  # its ranks' losses add up to that much more

    return partial(_ranks.per_rank, "ours", ranks, batch), peer


def measure(call: Callable, **setting: int) -> tuple[float, list[float]]:
    """GB, and what was found."""
    return call(**setting)


def agree(ours: list[float], peer: list[float]) -> bool:
    """The mean loss, and the norm of all gradients."""
    return all(abs(own - theirs) <= 1e-4 * theirs for own, theirs in zip(ours, peer, strict=True))
