"""The limits of a run: how long it may stall, and how long it may take."""

import math
import os
from dataclasses import dataclass

from towers.experiments.experiment import Experiment
from towers.experiments.parameters import ExperimentError

STALL = "TOWERS_STALL_MINUTES"
STALL_MINUTES = 10.0
MINUTES = "TOWERS_MINUTES"
"""Environment variable of a notebook: what its runs may take, each; asked before they start."""


@dataclass(frozen=True)
class Limits:
    """When a run is stopped.

    Attributes:
        stall: seconds without any sign of progress.
        whole: seconds of the whole run.
    """

    stall: float
    whole: float = math.inf

    def reached(self, still: float, spent: float) -> str | None:
        """Which limit a run has reached, in words; None while it may go on.

        Args:
            still: seconds since the last sign of progress.
            spent: seconds since the start.
        """
        if spent >= self.whole:
            return f"the time limit of {self.whole / 60:g} min is over"
        if still >= self.stall:
            return (
                f"nothing has moved for {self.stall / 60:g} min, no output and no step of a loop; "
                f"if that is as it should be, set {STALL} to more"
            )
        return None


def limits(experiment: Experiment, scale: str, minutes: float | None = None) -> Limits:
    """The limits of a run.

    It may stall for a tenth of its budget, and for ten minutes at least; `TOWERS_STALL_MINUTES`
    sets another number.

    Args:
        experiment: whose YAML states the budget.
        scale: of the run.
        minutes: of the whole run; None: no limit.

    Raises:
        ExperimentError: a number of minutes is not above 0.
    """
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise ExperimentError(f"expected minutes as a number > 0, got {minutes}")
    given = os.environ.get(STALL) or max(STALL_MINUTES, experiment.minutes[scale] / 10)
    try:
        stall = float(given)
    except ValueError:
        stall = math.nan
    if not stall > 0:
        raise ExperimentError(f"expected {STALL} as a number > 0, got {given!r}")
    return Limits(60 * stall, math.inf if minutes is None else 60 * minutes)
