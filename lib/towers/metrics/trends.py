"""How a value changes with size: power laws, and which sizes are worth their cost."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from towers.metrics.intervals import TAIL, Interval


@dataclass(frozen=True)
class PowerLaw:
    """value = scale * product of size_i ^ exponent_i: a line or plane through logarithms.

    Attributes:
        exponents: slope along each size.
        intervals: of the exponents, 95 %.
        scale: value where all sizes are 1.
        r_squared: share of the logarithms' variance that it explains, in [0, 1].
        n: points.
    """

    exponents: tuple[float, ...]
    intervals: tuple[Interval, ...]
    scale: float
    r_squared: float
    n: int
    _covariance: Float[np.ndarray, "terms terms"]

    def at(
        self, sizes: Float[np.ndarray, "points sizes"]
    ) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "2 points"]]:
        """The law at some places, and the low and high ends of its 95 % band.

        The band is that of the law itself, not of further points around it.

        Args:
            sizes: above zero.
        """
        design = _design(np.log(np.asarray(sizes, dtype=float)))
        line = design @ np.array([np.log(self.scale), *self.exponents])
        error = np.sqrt(np.einsum("pi,ij,pj->p", design, self._covariance, design))
        reach = _quantile(self.n - design.shape[1]) * error
        return np.exp(line), np.exp(np.stack([line - reach, line + reach]))


def power_law(
    sizes: Float[np.ndarray, "points sizes"],
    value: Float[np.ndarray, " points"],
) -> PowerLaw:
    """Least squares through the logarithms of some sizes and of a value.

    Args:
        sizes: above zero, a column each; no column may follow from the others.
        value: above zero.

    Returns:
        The law; its intervals are Student's, with as many degrees of freedom as there are points
        more than exponents and one: right where the logarithms scatter normally around the law,
        each point for itself. Average several seeds of one place first.

    Raises:
        ValueError: too few points, numbers that are not above zero, or sizes that do not vary, or
            vary together.

    Source: Hestness et al. 2017, Kaplan et al. 2020; Radford et al. 2021, Fig. 9.
    """
    sizes, value = np.asarray(sizes, dtype=float), np.asarray(value, dtype=float)
    if sizes.ndim != 2 or value.shape != sizes.shape[:1] or len(value) < sizes.shape[1] + 2:
        raise ValueError(
            "expected a row of sizes for each value, and two rows more than sizes; got shapes "
            f"{sizes.shape} and {value.shape}"
        )
    if not (np.isfinite(sizes).all() and np.isfinite(value).all()
            and min(sizes.min(), value.min()) > 0):  # fmt: skip
        raise ValueError(
            f"expected finite sizes and values above zero, got a least size of {sizes.min()} and a "
            f"least value of {value.min()}; a logarithm has no other"
        )
    design, target = _design(np.log(sizes)), np.log(value)
    terms = design.shape[1]
    if np.linalg.matrix_rank(design) < terms:
        raise ValueError(
            f"expected {terms - 1} sizes that vary each for itself, got columns of which one "
            "follows from the others; leave it out"
        )
    solved = np.linalg.lstsq(design, target, rcond=None)[0]
    residuals, around = target - design @ solved, target - target.mean()
    free = len(target) - terms
    covariance = (residuals @ residuals) / free * np.linalg.inv(design.T @ design)
    reach = _quantile(free) * np.sqrt(np.diag(covariance))
    ends = zip((solved - reach)[1:], (solved + reach)[1:], strict=True)
    return PowerLaw(
        exponents=tuple(map(float, solved[1:])),
        intervals=tuple(Interval(float(low), float(high)) for low, high in ends),
        scale=float(np.exp(solved[0])),
        r_squared=float(1 - (residuals @ residuals) / (around @ around)) if around.any() else 1.0,
        n=len(target),
        _covariance=covariance,
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


def _design(logs: Float[np.ndarray, "points sizes"]) -> Float[np.ndarray, "points terms"]:
    return np.column_stack([np.ones(len(logs)), logs])


def _quantile(free: int) -> float:
    return float(stats.t.ppf(1 - TAIL, free))
