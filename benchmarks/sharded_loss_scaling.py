"""How the sharded loss's memory per rank falls with the ranks: eight beside two, at one batch."""

from collections.abc import Callable
from functools import partial

from benchmarks import _ranks

FEW, MANY = 2, 8
METRIC = f"sharded loss, extra peak memory of one rank of {MANY}, {_ranks.BATCH:,} x 512"
PEER = "itself, fewer ranks"
GOAL = 0.75 * MANY / FEW  # 1 / ranks would be 4 times less; a tile and the columns' sums remain
UNIT = "GB"
REPEATS = 2  # it hardly varies
PEER_SETTINGS = {"ranks": (FEW,)}


def prepare() -> tuple[Callable, Callable]:
    """The two sides: ours() with many ranks and peer(ranks) with few."""
    return partial(_ranks.per_rank, "ours", MANY), partial(_ranks.per_rank, "ours")


def measure(call: Callable, **setting: int) -> tuple[float, list[float]]:
    """GB, and what was found."""
    return call(**setting)


def agree(ours: list[float], peer: list[float]) -> bool:
    """One loss and one gradient, whatever the ranks."""
    return all(abs(own - theirs) <= 1e-5 * theirs for own, theirs in zip(ours, peer, strict=True))
