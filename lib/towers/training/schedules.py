"""How the learning rate moves, as pure functions of the step.

Each gives the multiplier of the peak learning rate. The first `warmup` updates climb linearly, the
first of them at 1 / (warmup + 1) of the peak; the peak is reached at step `warmup`.
"""

import math
from collections.abc import Callable


def cosine(step: int, steps: int, warmup: int = 0) -> float:
    """Linear warm-up, then half a cosine down to 0.

    Args:
        step: 0 for the first update; from `steps` on the value stays 0.
        steps: updates in all.
        warmup: updates that climb.

    Returns:
        A value from 0 to 1.

    Raises:
        ValueError: `warmup` is negative or leaves no step.

    Source: Loshchilov and Hutter 2016, without restarts; Radford et al. 2021, sec. 2.5.
    """
    _check(steps, warmup)
    if step < warmup:
        return _climbing(step, warmup)
    progress = min(1.0, (step - warmup) / (steps - warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))


def constant(step: int, steps: int, warmup: int = 0) -> float:
    """Linear warm-up, then 1; arguments, range and errors as for `cosine`."""
    _check(steps, warmup)
    return _climbing(step, warmup) if step < warmup else 1.0


def linear(step: int, steps: int, warmup: int = 0) -> float:
    """Linear warm-up, then a straight line down to 0; arguments and errors as for `cosine`.

    Source: Devlin et al. 2019, appendix A.2.
    """
    _check(steps, warmup)
    if step < warmup:
        return _climbing(step, warmup)
    return max(0, steps - step) / (steps - warmup)


def reciprocal_sqrt(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, 1 / sqrt(1 + (step - warmup) / warmup), and a linear descent to 0 at the end.

    The descent takes the last `warmup` updates, or what the climb leaves of them.

    Args:
        step: 0 for the first update; from `steps` on the value stays 0.
        steps: updates in all.
        warmup: updates that climb; also the time scale of the decay and the length of the descent.

    Returns:
        A value from 0 to 1.

    Raises:
        ValueError: `warmup` is below 1 or leaves no step.

    Source: Tschannen et al. 2023 (CLIPPO), whose three lengths are 10,000 each.
    """
    _check(steps, warmup, least=1)
    if step < warmup:
        return _climbing(step, warmup)
    last = steps - descent("reciprocal-sqrt", steps, warmup)
    left = min(1.0, max(0, steps - step) / last)
    return left / math.sqrt(1 + (step - warmup) / warmup)


def descent(schedule: str, steps: int, warmup: int) -> int:
    """Updates that are the same however long the run: those before it descends to its end.

    Args:
        schedule: a name of `SCHEDULES`.
        steps: updates in all.
        warmup: updates that climb.

    Returns:
        `steps` if the schedule never looks at the end, 0 if it always does.
    """
    if schedule == "reciprocal-sqrt":
        return max(warmup, steps - warmup)
    return steps if schedule == "constant" else 0


SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "cosine": cosine,
    "constant": constant,
    "linear": linear,
    "reciprocal-sqrt": reciprocal_sqrt,
}


def _climbing(step: int, warmup: int) -> float:
    return (step + 1) / (warmup + 1)


def _check(steps: int, warmup: int, least: int = 0) -> None:
    if not least <= warmup < steps:
        raise ValueError(
            f"expected {least} <= warmup < steps, got warmup {warmup} and steps {steps}"
        )
