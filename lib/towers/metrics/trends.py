"""How a value changes with size: power laws, and which sizes are worth their cost."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from towers.metrics.intervals import Interval


@dataclass(frozen=True)
class PowerLaw:
    """value = scale * size ^ exponent, fitted as a straight line through logarithms.

    Attributes:
        exponent: slope of the line.
        interval: of the exponent.
        scale: value at size 1.
        r_squared: share of the logarithms' variance that the line explains, in [0, 1].
        n: points.
        confidence: of `interval` and of the band.
    """

    exponent: float
    interval: Interval
    scale: float
    r_squared: float
    n: int
    confidence: float
    _centre: float
    _deviation: float
    _spread: float

    def at(
        self, size: Float[np.ndarray, " sizes"]
    ) -> tuple[Float[np.ndarray, " sizes"], Float[np.ndarray, "2 sizes"]]:
        """The line at some sizes, and the low and high ends of its band.

        The band is that of the line itself, not of further points around it.

        Args:
            size: above zero.
        """
        logs = np.log(np.asarray(size, dtype=float))
        line = np.log(self.scale) + self.exponent * logs
        error = self._deviation * np.sqrt(1 / self.n + (logs - self._centre) ** 2 / self._spread)
        reach = _quantile(self.n, self.confidence) * error
        return np.exp(line), np.exp(np.stack([line - reach, line + reach]))


def power_law(
    size: Float[np.ndarray, " points"],
    value: Float[np.ndarray, " points"],
    confidence: float = 0.95,
) -> PowerLaw:
    """Least squares through log(size) and log(value).

    Args:
        size: above zero, at least two of them different.
        value: above zero.
        confidence: strictly between 0 and 1. Intervals are Student's with two degrees of freedom
            less than points: right where the logarithms scatter normally around the line, each
            point for itself. Several seeds of one size should be averaged first.

    Raises:
        ValueError: fewer than three points, one size only, or numbers that are not above zero.

    Source: Hestness et al. 2017, Kaplan et al. 2020; Radford et al. 2021, Fig. 9.
    """
    size, value = (np.asarray(side, dtype=float) for side in (size, value))
    if size.shape != value.shape or size.ndim != 1 or len(size) < 3:
        raise ValueError(
            f"expected at least three sizes, each with a value; got shapes {size.shape} and "
            f"{value.shape}"
        )
    if not (np.isfinite([size, value]).all() and min(size.min(), value.min()) > 0):
        raise ValueError(
            f"expected finite sizes and values above zero, got a least size of {size.min()} and a "
            f"least value of {value.min()}; a logarithm has no other"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"expected confidence between 0 and 1, got {confidence}")
    if size.min() == size.max():
        raise ValueError(f"expected different sizes, got {size[0]} only; a line needs two")
    logs, targets = np.log(size), np.log(value)
    line = stats.linregress(logs, targets)
    reach = _quantile(len(size), confidence) * line.stderr
    residuals = targets - line.intercept - line.slope * logs
    return PowerLaw(
        exponent=float(line.slope),
        interval=Interval(float(line.slope - reach), float(line.slope + reach)),
        scale=float(np.exp(line.intercept)),
        r_squared=float(line.rvalue**2),
        n=len(size),
        confidence=confidence,
        _centre=float(logs.mean()),
        _deviation=float(np.sqrt((residuals**2).sum() / (len(size) - 2))),
        _spread=float(((logs - logs.mean()) ** 2).sum()),
    )


def frontier(
    cost: Float[np.ndarray, " points"], value: Float[np.ndarray, " points"]
) -> Bool[np.ndarray, " points"]:
    """Which points have a lower value than all that cost no more.

    Of points of equal cost and value, all or none belong to it; a NaN never does.

    Args:
        cost: of each point.
        value: of each point; lower is better.
    """
    cost, value = np.asarray(cost), np.asarray(value)
    better = (cost <= cost[:, None]) & (value <= value[:, None])  # of others, as row sees them
    better &= (cost < cost[:, None]) | (value < value[:, None])
    return ~better.any(axis=1) & ~np.isnan(cost) & ~np.isnan(value)


def _quantile(n: int, confidence: float) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, n - 2))
