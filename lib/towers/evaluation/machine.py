"""What this machine can do at most: products of large matrices, and copies of memory.

The ceilings that a training step and a loss are held against.
"""

import statistics
import time
from collections.abc import Callable

import torch

from towers.records import Measurement

SIDE = 2048  # of the square matrices; larger ones are no quicker
COPIED = 1 << 28  # bytes: far beyond any cache
PROBE = 128  # side of the product that foretells how long one of `SIDE` would take
LONG = 1.0  # seconds that one product may take
TURNS = 5


def gemm_flops(dtype: torch.dtype, side: int = SIDE, turns: int = TURNS) -> float:
    """Multiplications and additions per second of a product of two square matrices.

    Args:
        dtype: of the matrices.
        side: their rows and columns; fewer where a product would take over a second, as of bf16 on
            processors that only emulate it.
        turns: the median of so many, after one to warm up.
    """
    if side > PROBE:
        most = LONG * gemm_flops(dtype, PROBE, 1) / 2
        side = min(side, max(PROBE, int(most ** (1 / 3))))
    left, right = (torch.ones(side, side, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * side**3 / _seconds(lambda: torch.mm(left, right, out=out), turns)


def copy_bytes(size: int = COPIED, turns: int = TURNS) -> float:
    """Bytes read and written per second when memory is copied.

    Args:
        size: bytes of what is copied.
        turns: as for `gemm_flops`.
    """
    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source), turns)


def evaluate(side: int = SIDE, size: int = COPIED) -> list[Measurement]:
    """All limits, with the present number of threads; the unit stands with the metric.

    Args:
        side: as for `gemm_flops`.
        size: as for `copy_bytes`.
    """
    limits = {
        "matrix product, fp32 (GFLOP/s)": gemm_flops(torch.float32, side) / 1e9,
        "matrix product, bf16 (GFLOP/s)": gemm_flops(torch.bfloat16, side) / 1e9,
        "copying memory (GB/s)": copy_bytes(size) / 1e9,
        "threads": float(torch.get_num_threads()),
    }
    return [
        Measurement(model="this machine", data="limits", metric=metric, value=value, n=1)
        for metric, value in limits.items()
    ]


def _seconds(call: Callable[[], object], turns: int) -> float:
    call()
    taken = []
    for _ in range(turns):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
