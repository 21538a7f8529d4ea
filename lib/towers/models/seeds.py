"""First weights by the kind and the seed of a tower, whatever was drawn before."""

import contextlib
from collections.abc import Iterator

import torch

from towers import files


@contextlib.contextmanager
def seeded(kind: str, seed: int) -> Iterator[None]:
    """Draw inside by a kind and a seed alone; the global generators are neither read nor moved.

    Args:
        kind: of tower, so that two kinds share no numbers.
        seed: of the name.
    """
    number = files.sha256(f"{kind} {seed}".encode())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(number[:15], 16))
        yield
