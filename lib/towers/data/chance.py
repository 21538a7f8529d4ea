"""Numbers that look random and are a pure function of their address.

Whoever draws row 7 alone, in a batch, or in another process, gets the same: nothing is remembered
from one draw to the next. An address is a key, a row and the number of the draw.
"""

import hashlib

import numpy as np
from jaxtyping import Float, Int, UInt64

STRIDE = np.uint64(0x9E3779B97F4A7C15)


def secret(*parts: object) -> int:
    """A 64-bit key that stands for some words and numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])


def bits(
    key: int, rows: Int[np.ndarray, " rows"], draws: int, attempt: int = 0
) -> UInt64[np.ndarray, "rows draws"]:
    """Random 64-bit numbers, so many for each row.

    Args:
        key: from `secret`.
        rows: any numbers; equal rows get equal numbers.
        draws: numbers per row; the first ones are the same for any `draws`.
        attempt: another one gives other numbers.

    Source: SplitMix64 (Steele, Lea and Flood 2014): each row is a stream of its own.
    """
    start = mixed(rows.astype(np.uint64) ^ np.uint64(key)) + np.uint64(attempt)
    with np.errstate(over="ignore"):
        places = np.arange(1, draws + 1, dtype=np.uint64) * STRIDE
        return mixed(mixed(start)[:, None] + places)


def mixed(values: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """A bijection of 64-bit numbers whose every output bit depends on every input bit."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def below(numbers: UInt64[np.ndarray, "..."], limit: int) -> Int[np.ndarray, "..."]:
    """Whole numbers from 0 to `limit` - 1, equally often (within 2^-32)."""
    return ((numbers >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)


def fractions(numbers: UInt64[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Numbers in [0, 1)."""
    return (numbers >> np.uint64(11)) * 2.0**-53
