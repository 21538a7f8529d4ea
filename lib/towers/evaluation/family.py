"""Models that differ in what they share, side by side: how they learnt, and what they can do.

Source: Tschannen et al. 2023, Tables 1, 6 and 9.
"""

from collections.abc import Mapping, Sequence

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


def losses(
    runs: Mapping[tuple[str, int], Sequence[Mapping]], batch: int, points: int = 20
) -> pd.DataFrame:
    """Loss against pairs seen, averaged over stretches of equal length.

    Args:
        runs: (model, seed) -> lines of the run's log; lines without a loss are passed over.
        batch: pairs of each update.
        points: stretches of the longest run.

    Returns:
        Columns model, seed, pairs (the middle of the stretch) and loss.
    """
    rows = [
        (model, seed, line["step"], line["loss"])
        for (model, seed), log in runs.items()
        for line in log
        if "loss" in line
    ]
    frame = pd.DataFrame(rows, columns=["model", "seed", "step", "loss"])
    width = max(1, int(frame.step.max()) // points)
    frame["pairs"] = ((frame.step - 1) // width * width + (width + 1) / 2) * batch
    return frame.groupby(["model", "seed", "pairs"], sort=False).loss.mean().reset_index()


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
    found = retrieval.hits(dual, collection, dtype=dtype)
    parts = [found[["metric", "direction", "k", "group", "hit"]]]
    if templates:
        sure = zero_shot.predict(dual, collection, collection.classes, templates, dtype)
        right = sure.argmax(1) == collection.labels
        told = pd.DataFrame({"group": collection.groups, "hit": right.astype(float)})
        parts.append(told[collection.labels >= 0].assign(**MEASURES["zero-shot"]))
    if pairs:
        both = text_pairs.hits(dual, pairs, dtype=dtype)
        told = pd.DataFrame({"group": [str(row) for row in range(len(both))], "hit": both})
        parts.append(told.assign(**MEASURES["T→T R@10"]))
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
    own = frame[(frame.data == data) & frame.seed.notna()]
    parts = [
        records.select(own, **wanted).assign(measure=measure)
        for measure, wanted in MEASURES.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(run="seed " + rows.seed.astype(int).astype(str))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a model, one column a measure: means over seeds.

    Args:
        rows: as `measures` gives them.
    """
    means = rows.groupby(["model", "measure"], sort=False).value.mean().unstack()
    order = [measure for measure in MEASURES if measure in means]
    return means.loc[list(dict.fromkeys(rows.model)), order]
