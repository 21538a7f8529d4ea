"""An update where adapters and layer norms move, and one where everything does.

Gradients pass through locked weights on their way to what moves below them; what is saved is the
half of the backward pass that is for the weights themselves, and their update. The notes say the
same of policies that move less, each in turns of its own with full training.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

from benchmarks._clip_losses import THREADS
from benchmarks._policies import FULL, LIGHTER, LILT, SIZES, ready, update

METRIC = "update of {batch} pairs, adapters and norms move, {width} wide, {depth} deep, {image} px"
PEER = "the same pair, everything moves"
GOAL = 1.2  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}
TURNS = 3  # of each note

__all__ = ["GOAL", "METRIC", "PEER", "PEER_SETTINGS", "SIZES", "agree", "notes", "prepare"]


def prepare(batch: int, **shape: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each the first loss that it ever saw."""
    ours, peer = (_side(policy, batch, shape) for policy in (LILT, FULL))
    return partial(ours, THREADS), lambda threads: peer(threads)


def agree(ours: float, peer: float) -> bool:
    """The same loss before the first update: adapters begin as the identity."""
    return abs(ours - peer) <= 1e-5 * peer


def notes(ours: float, peer: float, batch: int, **shape: int) -> dict[str, float]:
    """How many times less an update takes under policies that move less."""
    return {
        f"times less, {name}": _times_less(policy, batch, shape) for name, policy in LIGHTER.items()
    }


def _times_less(policy: str, batch: int, shape: dict[str, int]) -> float:
    calls = [_side(each, batch, shape) for each in (policy, FULL)]
    turns = [[_seconds(call) for call in calls] for _ in range(1 + TURNS)]
    return statistics.median(full / own for own, full in turns[1:])  # the first one warms up


def _seconds(call: Callable[[int], float]) -> float:
    start = time.perf_counter()
    call(THREADS)
    return time.perf_counter() - start


def _side(policy: str, batch: int, shape: dict[str, int]) -> Callable[[int], float]:
    loop, given = ready(policy, batch, **shape)
    seen: list[float] = []

    def call(threads: int) -> float:
        seen.append(update(loop, given, threads))
        return seen[0]

    return call
