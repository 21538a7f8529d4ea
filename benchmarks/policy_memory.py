"""What two updates add to a process, where adapters and layer norms move or where everything does.

Gradients, the optimiser's moments and what the forward pass keeps for the backward one; the
weights are there before. The notes say the same of policies that move less.
"""

from collections.abc import Callable
from functools import partial

from benchmarks._clip_losses import THREADS
from benchmarks._memory import extra_peak, in_child
from benchmarks._policies import FULL, LIGHTER, LILT, SIZES, ready, update

METRIC = "memory of updates of {batch} pairs, adapters and norms move, {width} wide, {depth} deep"
PEER = "the same pair, everything moves"
GOAL = 1.5  # times less memory
UNIT = "GB"
REPEATS = 2  # it hardly varies
PAGE = 4e-6  # GB that a process grows by at least
PEER_SETTINGS = {"threads": (THREADS,)}

__all__ = [
    "GOAL",
    "METRIC",
    "PEER",
    "PEER_SETTINGS",
    "SIZES",
    "agree",
    "measure",
    "notes",
    "prepare",
]


def prepare(batch: int, **shape: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each giving its memory and its first loss."""
    ours, peer = (partial(in_child, _measure, side, batch, shape) for side in (LILT, FULL))
    return partial(ours, THREADS), lambda threads: peer(threads)


def measure(call: Callable, **setting: int) -> tuple[float, float]:
    """GB, and the loss before the first update."""
    return call(**setting)


def agree(ours: float, peer: float) -> bool:
    """The same loss before the first update: adapters begin as the identity."""
    return abs(ours - peer) <= 1e-5 * peer


def notes(ours: float, peer: float, batch: int, **shape: int) -> dict[str, float]:
    """How many times less two updates add under policies that move less."""
    amounts = {
        name: in_child(_measure, policy, batch, shape, THREADS)[0]
        for name, policy in LIGHTER.items()
    }
    return {f"times less, {name}": peer / max(amount, PAGE) for name, amount in amounts.items()}


def _measure(policy: str, batch: int, shape: dict[str, int], threads: int) -> tuple[float, float]:
    tiny, given = ready(policy, **SIZES["smoke"])
    update(tiny, given, threads)  # libraries take their own memory first
    loop, given = ready(policy, batch, **shape)
    amount, losses = extra_peak(lambda: [update(loop, given, threads) for _ in range(2)])
    return amount, losses[0]
