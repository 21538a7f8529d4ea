"""A supervised linear classifier on frozen features: what zero-shot transfer is measured against.

Source: Radford et al. 2021, section 3.1.5 (Fig. 5) and appendix A.3. As there: features before any
projection, scikit-learn's logistic regression by L-BFGS with at most 1,000 iterations, an L2
penalty chosen on a validation part that then joins the training part. Otherwise than there:

- The paper writes no objective; in scikit-learn's, which it used, a penalty 1 / C stands beside the
  sum of the items' losses, and its best value grows with the number of items. Ours stands beside
  their mean, C = 1 / (lambda * items), so that one grid suits data of any size. With the paper's
  lambda read as 1 / C, it is ours times the number of items.
- The seven values that the paper's search starts from are all that is tried; it goes on to halve
  the steps around the best, down to eight a decade.
- Features are centred and scaled first (`evaluate`), of which the paper says nothing: the penalty
  then weighs the features of every tower alike.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from towers import data, metrics, models
from towers.evaluation import embeds, zero_shot
from towers.metrics.scores import Targets
from towers.models.features import Precision
from towers.records import Measurement

STRENGTHS = tuple(10.0**power for power in range(-6, 7, 2))
"""Penalties beside the mean loss; the same seven numbers as the paper's, which stand beside the
sum, so that on n items ours reach from n * 10^-6 to n * 10^6 as 1 / C."""
VALIDATION = 5  # one in so many training items serves to choose the penalty


def fit(
    features: Float[np.ndarray, "items width"],
    labels: Targets,
    validation: Float[np.ndarray, "others width"],
    validation_labels: Targets,
    strengths: Sequence[float] = STRENGTHS,
    metric: str = "accuracy",
) -> LogisticRegression | OneVsRestClassifier:
    """A logistic regression whose penalty is chosen on a validation part, then fitted on both.

    Args:
        features: training rows, at least two classes.
        labels: class numbers of the rows; or 0 or 1 for each class, which are then learnt one by
            one.
        validation: rows on which the penalty is chosen; empty chooses the middle strength.
        validation_labels: of those rows.
        strengths: the penalties lambda to try.
        metric: that chooses, of `metrics.scores.BY_NAME`.

    Returns:
        scikit-learn's model, L-BFGS with at most 1,000 iterations: the weights w minimise the mean
        cross-entropy of the rows plus lambda / 2 times w's squared norm; intercepts are free.

    Raises:
        ValueError: fewer than two classes.

    Source: Radford et al. 2021, appendix A.3; the seven values that its search starts from.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"expected at least two classes to tell apart, got {len(np.unique(labels))}"
        )
    both = np.concatenate([labels, validation_labels])
    classes = both.shape[1] if both.ndim == 2 else both.max() + 1

    def trained(strength: float, rows: np.ndarray, targets: np.ndarray):
        model = LogisticRegression(C=1 / (strength * len(rows)), max_iter=1000)
        return (model if targets.ndim == 1 else OneVsRestClassifier(model)).fit(rows, targets)

    best = strengths[len(strengths) // 2]
    if len(validation):
        models = (trained(strength, features, labels) for strength in strengths)
        shares = (probabilities(model, validation, classes) for model in models)
        scores = [metrics.scores.value(metric, share, validation_labels) for share in shares]
        best = strengths[int(np.argmax(scores))]
    return trained(best, np.concatenate([features, validation]), both)


def probabilities(
    model: LogisticRegression | OneVsRestClassifier,
    rows: Float[np.ndarray, "items width"],
    classes: int,
) -> Float[np.ndarray, "items classes"]:
    """Probability of each class; 0 for those that the model has never seen.

    Args:
        model: as `fit` gives it.
        rows: features.
        classes: how many there are.
    """
    shares = np.zeros((len(rows), classes))
    shares[:, model.classes_] = model.predict_proba(rows)
    return shares


def evaluate(
    tower: models.ImageTower,
    train: data.Collection,
    test: data.Collection,
    *,
    seed: int = 0,
    dtype: Precision | None = None,
) -> list[Measurement]:
    """Score a supervised linear classifier on an image tower's frozen features.

    A fifth of `train`, drawn by a seeded hash, serves to choose the penalty. Features are centred
    and scaled by the statistics of the other four fifths, which the paper does not do.

    Args:
        tower: whose features are taken before any projection, as in the paper.
        train: labelled items to learn from; the same classes as `test`.
        test: labelled items to measure on; its card names the metric, `zero_shot.metric`.
        seed: of the draw of the validation part, and of the bootstrap.
        dtype: in which the tower computes features, as for `models.features`.

    Returns:
        One row by the card's metric, as `metrics.score` gives it, at `classifier` "supervised";
        "accuracy", where nothing else is said, also at `k` 1.

    Raises:
        ValueError: the two parts name their classes differently, one has fewer than two, or none
            of its items has a label.
    """
    embeds.check(tower, train, test)
    zero_shot.check_parts(train, test)
    chosen_by = {item.key for item in train.take(len(train) // VALIDATION, seed)}
    held = np.array([item.key in chosen_by for item in train])
    known, labels = zero_shot.truth(train)
    choose = held[known]
    if len(np.unique(labels[~choose])) < 2:
        raise ValueError(
            f"expected two classes at least among the {(~choose).sum()} items that are learnt from "
            f"in {train.name}, got fewer; name a larger collection"
        )
    rows = models.features(tower, train, dtype=dtype)
    scaler = StandardScaler().fit(rows[~held])
    rows = scaler.transform(rows)[known]
    metric = zero_shot.metric(test)
    parts = (rows[~choose], labels[~choose], rows[choose], labels[choose])
    model = fit(*parts, metric=metric)
    labelled, truth = zero_shot.truth(test)
    tested = models.features(tower, test, dtype=dtype)[labelled]
    shares = probabilities(model, scaler.transform(tested), len(test.classes))
    score = metrics.score(metric, shares, truth, groups=test.groups[labelled], seed=seed)
    at = {"classifier": "supervised"} | ({"k": 1} if metric == "accuracy" else {})
    return [Measurement(**score, model=tower.name, data=test.name, seed=seed, at=at)]
