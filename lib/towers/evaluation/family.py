"""Models that differ in what they share, side by side: the columns of the paper's tables.

Source: Tschannen et al. 2023, Tables 1, 6 and 9.
"""

from collections.abc import Sequence

import pandas as pd

from towers import data, models, records
from towers.evaluation import retrieval, text_pairs, zero_shot
from towers.models.features import Precision

MEASURES = {
    "I→T R@10": {"metric": "recall", "direction": "text retrieval", "k": 10},
    "T→I R@10": {"metric": "recall", "direction": "image retrieval", "k": 10},
    "zero-shot": {"metric": "accuracy", "prompt": "sentences", "k": 1},
    "10-shot": {"metric": "accuracy", "shots": 10},
    "T→T R@10": {"metric": "recall", "direction": text_pairs.DIRECTION, "k": 10},
}
"""Measure, named as in the paper's tables (I: images, T: texts) -> metric and conditions of our
records. The paper has R@1; where many captions are alike, ten places say more."""


def hits(
    dual: models.DualTower,
    collection: data.Collection,
    templates: Sequence[str] = (),
    pairs: Sequence[tuple[str, str]] = (),
    *,
    dtype: Precision | None = None,
) -> pd.DataFrame:
    """What records of `MEASURES` average, query by query: for comparisons on the same queries.

    Args:
        dual: whose features are cached.
        collection: asked for retrieval of its English captions, and for its labels.
        templates: of a zero-shot classifier; none: it is not asked.
        pairs: of texts, as for `text_pairs.evaluate`; none: they are not asked for.
        dtype: in which the towers compute features, as for `models.features`.

    Returns:
        One row a query: what a record of it has (`metric`, `direction`, `k`, `prompt`), `group` of
        what belongs together, and `hit`, in [0, 1].

    Raises:
        ValueError: as `retrieval.hits`, `zero_shot.class_embeddings` and `text_pairs.hits`.
    """
    both = retrieval.hits(dual, collection, dtype=dtype)
    parts = [both[["metric", "direction", "k", "group", "hit"]]]
    if templates:
        sure = zero_shot.predict(dual, collection, collection.classes, templates, dtype)
        right = sure.argmax(1) == collection.labels
        answers = pd.DataFrame({"group": collection.groups, "hit": right.astype(float)})
        parts.append(answers[collection.labels >= 0].assign(**MEASURES["zero-shot"]))
    if pairs:
        answers = pd.DataFrame({"hit": text_pairs.hits(dual, pairs, dtype=dtype)})
        answers["group"] = answers.index.astype(str)
        parts.append(answers.assign(**MEASURES["T→T R@10"]))
    return pd.concat(parts, ignore_index=True)


def measures(frame: pd.DataFrame, data: str) -> pd.DataFrame:
    """The records that a table of the paper has a column for, each beside its chance.

    Args:
        frame: records, as `Run.frame` gives them.
        data: whose records count.

    Returns:
        Rows of `frame` with the columns measure and run ("seed 0"), in the order of `MEASURES`;
        measures without a record are left out.
    """
    runs = frame[(frame.data == data) & frame.seed.notna()]
    parts = [
        records.select(runs, **wanted).assign(measure=measure)
        for measure, wanted in MEASURES.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(run="seed " + rows.seed.astype(int).astype(str))
