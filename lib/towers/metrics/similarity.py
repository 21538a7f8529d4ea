"""How alike two towers see: the similarity of their similarities."""

import numpy as np
from jaxtyping import Float

from towers.metrics.intervals import Interval, bootstrap


def representational_similarity(
    features: Float[np.ndarray, "pictures width"],
    targets: Float[np.ndarray, "pictures other"],
    seed: int = 0,
) -> tuple[float, Interval]:
    """How well one tower's features tell which pictures are alike to another one.

    Args:
        features: of one tower.
        targets: of the other, row by row of the same pictures.
        seed: of the bootstrap.

    Returns:
        Pearson correlation, over all pairs of pictures, of the cosines of both, each after its mean
        was taken off; and its 95 % bootstrap interval over pictures, in which a picture that is
        drawn twice makes no pair with itself.

    Raises:
        ValueError: fewer than three pictures, or not as many of both.

    Source: Kriegeskorte, Mur and Bandettini 2008.
    """
    if not len(features) == len(targets) > 2:
        raise ValueError(
            f"expected features of the same 3 or more pictures, got {len(features)} and "
            f"{len(targets)}"
        )
    seen, wanted = (_cosines(rows - rows.mean(0)) for rows in (features, targets))

    def correlation(drawn: Float[np.ndarray, " pictures"]) -> float:
        rows = drawn.astype(int)
        first, second = (rows[places] for places in np.triu_indices(len(rows), k=1))
        apart = first != second
        pairs = first[apart], second[apart]
        return float(np.corrcoef(seen[pairs], wanted[pairs])[0, 1])

    every = np.arange(len(features), dtype=float)
    return correlation(every), bootstrap(every, correlation, n_resamples=500, seed=seed)


def _cosines(rows: Float[np.ndarray, "pictures width"]) -> Float[np.ndarray, "pictures pictures"]:
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows @ rows.T
