"""How the learning rate moves, as pure functions of the step."""

import math


def cosine(step: int, steps: int, warmup: int = 0) -> float:
    """Multiplier of the peak learning rate: linear warm-up, then half a cosine down to 0.

    Args:
        step: 0 for the first update; from `steps` on the value stays 0.
        steps: updates in all.
        warmup: updates that climb, the first of them at 1 / (warmup + 1) of the peak; the peak
            is reached at step `warmup`.

    Returns:
        A value from 0 to 1.

    Raises:
        ValueError: `warmup` is negative or leaves no step.

    Source: Loshchilov and Hutter 2016, without restarts; Radford et al. 2021, sec. 2.5.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"expected 0 <= warmup < steps, got warmup {warmup} and steps {steps}")
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / (steps - warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))
