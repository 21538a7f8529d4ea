"""How the sharded loss's memory per rank falls with the ranks, at one batch."""

from collections.abc import Callable
from functools import partial

from benchmarks import _ranks

METRIC = "sharded loss, extra peak memory of one rank of {ranks}, {batch:,} x 512"
PEER = "itself, a quarter of the ranks"
FEWER = 4
GOAL = 0.75 * FEWER  # 1 / ranks would be 4 times less; a tile and the columns' sums remain
UNIT = "GB"
REPEATS = 2  # it hardly varies
PEER_SETTINGS = {}
SIZES = {
    "full": {"batch": 16_384, "ranks": 8},
    "laptop": {"batch": 4_096, "ranks": 4},
    "smoke": {"batch": 1_024, "ranks": 4},
}


def prepare(batch: int, ranks: int) -> tuple[Callable, Callable]:
    """The two sides: ours() with all ranks and peer() with few."""
    return tuple(partial(_ranks.per_rank, "ours", n, batch) for n in (ranks, ranks // FEWER))


def measure(call: Callable, **setting: int) -> tuple[float, list[float]]:
    """GB, and what was found."""
    return call(**setting)


def agree(ours: list[float], peer: list[float]) -> bool:
    """One loss and one gradient, whatever the ranks."""
    return all(abs(own - theirs) <= 1e-5 * theirs for own, theirs in zip(ours, peer, strict=True))
