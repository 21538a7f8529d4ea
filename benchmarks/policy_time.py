"""An update where adapters and layer norms move, and one where everything does.

Gradients pass through locked weights on their way to what moves below them; what is saved is the
half of the backward pass that is for the weights themselves, and their update.
"""

from collections.abc import Callable

from benchmarks._clip_losses import THREADS
from benchmarks._policies import FULL, LILT, SIZES, ready, update

METRIC = "update of {batch} pairs, adapters and norms move, {width} wide, {depth} deep, {image} px"
PEER = "the same pair, everything moves"
GOAL = 1.2  # times less time
PEER_SETTINGS = {"threads": (THREADS,)}

__all__ = ["GOAL", "METRIC", "PEER", "PEER_SETTINGS", "SIZES", "agree", "prepare"]


def prepare(batch: int, **shape: int) -> tuple[Callable, Callable]:
    """The two sides: ours() and peer(threads), each the first loss that it ever saw."""

    def side(policy: str) -> Callable[[int], float]:
        loop, given = ready(policy, batch, **shape)
        seen: list[float] = []

        def call(threads: int) -> float:
            seen.append(update(loop, given, threads))
            return seen[0]

        return call

    ours, peer = side(LILT), side(FULL)
    return lambda: ours(THREADS), lambda threads: peer(threads)


def agree(ours: float, peer: float) -> bool:
    """The same loss before the first update: adapters begin as the identity."""
    return abs(ours - peer) <= 1e-5 * peer
