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
import pandas as pd
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from towers import data, metrics, models
from towers.evaluation import embeds, zero_shot
from towers.models.features import Precision
from towers.records import Measurement, select

STRENGTHS = tuple(10.0**power for power in range(-6, 7, 2))
"""Penalties beside the mean loss; the same seven numbers as the paper's, which stand beside the
sum, so that on n items ours reach from n * 10^-6 to n * 10^6 as 1 / C."""
VALIDATION = 5  # one in so many training items serves to choose the penalty


def fit(
    features: Float[np.ndarray, "items width"],
    labels: Int[np.ndarray, " items"],
    validation: Float[np.ndarray, "others width"],
    validation_labels: Int[np.ndarray, " others"],
    strengths: Sequence[float] = STRENGTHS,
) -> LogisticRegression:
    """A logistic regression whose penalty is chosen on a validation part, then fitted on both.

    Args:
        features: training rows, at least two classes.
        labels: class numbers of the rows.
        validation: rows on which the penalty is chosen; empty chooses the middle strength.
        validation_labels: class numbers of those rows.
        strengths: the penalties lambda to try.

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

    def trained(strength: float, rows: np.ndarray, numbers: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=1 / (strength * len(rows)), max_iter=1000).fit(rows, numbers)

    best = strengths[len(strengths) // 2]
    if len(validation):
        scores = [
            trained(strength, features, labels).score(validation, validation_labels)
            for strength in strengths
        ]
        best = strengths[int(np.argmax(scores))]
    return trained(
        best,
        np.concatenate([features, validation]),
        np.concatenate([labels, validation_labels]),
    )


def evaluate(
    tower: models.ImageTower,
    train: data.Collection,
    test: data.Collection,
    *,
    seed: int = 0,
    dtype: Precision | None = None,
    progress: bool = True,
) -> list[Measurement]:
    """Accuracy of a supervised linear classifier on an image tower's frozen features.

    A fifth of `train`, drawn by a seeded hash, serves to choose the penalty. Features are centred
    and scaled by the statistics of the other four fifths, which the paper does not do.

    Args:
        tower: whose features are taken before any projection, as in the paper.
        train: labelled items to learn from; the same classes as `test`.
        test: labelled items to measure on.
        seed: of the draw of the validation part.
        dtype: in which the tower computes features, as for `models.features`.
        progress: show a bar while features are made.

    Returns:
        "accuracy" at `classifier` "supervised" and `k` 1, beside chance, with its Clopper-Pearson
        interval.

    Raises:
        ValueError: the two parts name their classes differently, one has fewer than two, or none
            of its items has a label.
    """
    embeds.check(tower, train, test)
    zero_shot.check(train, test)
    if train.classes != test.classes:
        raise ValueError(
            f"expected the same classes in both parts, got {len(train.classes)} in {train.name} "
            f"and {len(test.classes)} in {test.name}"
        )
    keys = {item.key for item in train.take(len(train) // VALIDATION, seed)}
    held, labels = np.array([item.key in keys for item in train]), train.labels
    learn, choose = ~held & (labels >= 0), held & (labels >= 0)
    if len(np.unique(labels[learn])) < 2:
        raise ValueError(
            f"expected two classes at least among the {learn.sum()} items that are learnt from in "
            f"{train.name}, got fewer; name a larger collection"
        )
    rows = models.features(tower, train, dtype=dtype, progress=progress)
    scaler = StandardScaler().fit(rows[~held])
    rows = scaler.transform(rows)
    model = fit(rows[learn], labels[learn], rows[choose], labels[choose])
    asked = test.labels >= 0
    tested = models.features(tower, test, dtype=dtype, progress=progress)[asked]
    found = model.predict(scaler.transform(tested))
    hits = found == test.labels[asked]
    low, high = metrics.intervals.clopper_pearson(int(hits.sum()), len(hits))
    return [
        Measurement(
            model=tower.name,
            data=test.name,
            metric="accuracy",
            value=float(hits.mean()),
            low=low,
            high=high,
            n=len(hits),
            seed=seed,
            chance=1 / len(test.classes),
            at={"classifier": "supervised", "k": 1},
        )
    ]


def beside(frame: pd.DataFrame, prompt: str) -> pd.DataFrame:
    """Supervised and zero-shot accuracy on the same pictures, as Fig. 5 compares them.

    Args:
        frame: records, as `Run.frame` gives them.
        prompt: which set of prompts stands for zero-shot.

    Returns:
        The rows of both, for the data sets that have both, with the column `classifier`.
    """
    learnt = select(frame, metric="accuracy", classifier="supervised")
    asked = select(frame, metric="accuracy", prompt=prompt, k=1)
    asked = asked[asked.data.isin(learnt.data)].assign(classifier=f"zero-shot, {prompt}")
    return pd.concat([learnt, asked])
