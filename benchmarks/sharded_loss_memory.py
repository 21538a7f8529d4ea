"""Extra peak memory per rank of the contrastive loss over four ranks, beside open_clip's."""

from collections.abc import Callable
from functools import partial

from benchmarks import _ranks

RANKS = 4
METRIC = f"contrastive loss over {RANKS} ranks, extra peak memory of one, {_ranks.BATCH:,} x 512"
PEER = "open_clip ClipLoss(local_loss, gather_with_grad)"
GOAL = 5.0  # times less memory
UNIT = "GB"
REPEATS = 2  # it hardly varies
PEER_SETTINGS = {"ranks": (RANKS,)}


def prepare() -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(ranks), each giving its memory and what it found."""
    return partial(_ranks.per_rank, "ours", RANKS), partial(_ranks.per_rank, "peer")


def measure(call: Callable, **setting: int) -> tuple[float, list[float]]:
    """GB, and what was found."""
    return call(**setting)


def agree(ours: list[float], peer: list[float]) -> bool:
    """The mean loss; the peer's ranks hold losses of their own rows, and gradients of their sum."""
    return abs(ours[0] - peer[0]) <= 1e-5 * peer[0] and (
        abs(RANKS * ours[1] - peer[1]) <= 1e-4 * peer[1]
    )
