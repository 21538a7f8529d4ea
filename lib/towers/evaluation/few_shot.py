"""Few labelled pictures a class, and a linear map onto them in closed form.

The features of the shots are centred and scaled by their own statistics, a constant feature of 100
carries the bias, classes are targets of -1 and 1, and a ridge regression with a penalty of 2^10
maps features to targets; the largest target wins. Features are those of the image tower, before
any projection.

Source: Dosovitskiy et al. 2021, section 4.1 ("Metrics"), and the authors' code, which Tschannen et
    al. 2023 follow (section 4.2, "I1k 10s.").
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import Ridge

from towers import data, metrics, models
from towers.evaluation import embeds, zero_shot
from towers.models.features import Precision
from towers.records import Measurement

PENALTY = 2.0**10
BIAS = 100.0
"""The constant feature: so large that its weight is hardly punished."""
FLOOR = 1e-5
"""Added to the deviation of each feature."""


def predict(
    shots: Float[np.ndarray, "shots width"],
    labels: Int[np.ndarray, " shots"],
    queries: Float[np.ndarray, "items width"],
    classes: int,
    penalty: float = PENALTY,
) -> Float[np.ndarray, "items classes"]:
    """A score of each class for each query; the largest wins.

    Args:
        shots: features to learn from.
        labels: their class numbers, from 0 to `classes` - 1.
        queries: features to classify.
        classes: how many there are.
        penalty: beside the sum of squared errors, on the squared weights.
    """
    shots, queries = shots.astype(np.float64), queries.astype(np.float64)
    mean, scale = shots.mean(0), shots.std(0) + FLOOR
    shots, queries = (
        np.pad((part - mean) / scale, ((0, 0), (0, 1)), constant_values=BIAS)
        for part in (shots, queries)
    )
    targets = 2.0 * np.eye(classes)[labels] - 1.0
    model = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(shots, targets)
    return model.predict(queries).reshape(len(queries), classes)


def evaluate(
    dual: models.DualTower,
    train: data.Collection,
    test: data.Collection,
    *,
    shots: Sequence[int] = (1, 5, 10, 25),
    draws: int = 3,
    seed: int = 0,
    dtype: Precision | None = None,
) -> list[Measurement]:
    """Scores after so many labelled pictures of each class, over several draws of them.

    Args:
        dual: whose image tower is asked; records have its name.
        train: labelled pictures to draw shots from; a class with fewer gives all that it has.
        test: labelled pictures to measure on, of the same classes; its card names the metric,
            `zero_shot.metric`.
        shots: of each class; numbers that no class reaches are left out.
        draws: of the shots; the reported score is their mean.
        seed: of the draws.
        dtype: in which the tower computes features, as for `models.features`.

    Returns:
        For each number "accuracy" or what the card says (`metrics.score`) at `shots`, beside
        chance, with an interval over the test pictures.

    Raises:
        ValueError: the two parts name their classes differently, one has fewer than two or no
            labels, a picture to learn from has several classes, or there is nothing to draw.
    """
    embeds.check(dual, train, test)
    zero_shot.check_parts(train, test)
    if not len(shots) or min(*shots, draws) < 1:
        raise ValueError(
            f"expected shots and draws of at least 1, got shots {list(shots)} and {draws} draws"
        )
    labels, (rows, truth) = train.labels, zero_shot.truth(test)
    if not (labels >= 0).any():
        raise ValueError(f"expected pictures of one class each to draw from, got {train.name}")
    known, queries = (models.features(dual.image, part, dtype=dtype) for part in (train, test))
    most, metric = np.bincount(labels[labels >= 0]).max(), zero_shot.metric(test)
    measured = []
    for number in (number for number in shots if number <= most):
        chosen = [drawn(labels, number, seed, draw) for draw in range(draws)]
        scores = [
            predict(known[part], labels[part], queries[rows], len(test.classes)) for part in chosen
        ]
        score = metrics.score(metric, np.stack(scores), truth, groups=test.groups[rows])
        shared = {"model": dual.name, "data": test.name, "seed": seed}
        measured.append(Measurement(**score, **shared, at={"shots": number}))
    return measured


def drawn(
    labels: Int[np.ndarray, " items"], number: int, seed: int, draw: int
) -> Int[np.ndarray, " shots"]:
    """Rows of so many items of each class, without replacement.

    Args:
        labels: class numbers; items below 0 have no class and are never drawn.
        number: of each class, or all that it has.
        seed: of all draws.
        draw: which one.
    """
    order = np.random.default_rng((seed, draw)).permutation(len(labels))
    return np.concatenate(
        [order[labels[order] == label][:number] for label in np.unique(labels[labels >= 0])]
    )
