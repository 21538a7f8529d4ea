"""Models that differ in what they share, side by side: how they learnt, and what they can do.

Source: Tschannen et al. 2023, Tables 1, 6 and 9.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from towers import data, metrics, models
from towers.evaluation import retrieval, text_pairs, zero_shot
from towers.models.features import Precision
from towers.records import Measurement

MEASURES = {
    "I→T R@10": ("text retrieval R@10", "text retrieval chance R@10"),
    "T→I R@10": ("image retrieval R@10", "image retrieval chance R@10"),
    "zero-shot": ("top-1 accuracy (sentences)", "top-1 chance"),
    "10-shot": ("10-shot accuracy", "few-shot chance"),
    "T→T R@10": ("text to text R@10", "text to text chance R@10"),
}
"""Measure, named as in the paper's tables (I: images, T: texts) -> metric of our records, and of
its chance. The paper has R@1; where many captions are alike, ten places say more."""


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
        One row a query: `metric` (of `MEASURES`), `group` of what belongs together, and `hit`, in
        [0, 1].

    Raises:
        ValueError: as `retrieval.hits`, `zero_shot.class_embeddings` and `text_pairs.hits`.
    """
    found = retrieval.hits(dual, collection, dtype=dtype)
    parts = [found[["group", "hit"]].assign(metric=found.direction + " R@10")]
    if templates:
        sure = zero_shot.predict(dual, collection, collection.classes, templates, dtype)
        right = sure.argmax(1) == collection.labels
        told = pd.DataFrame({"group": collection.groups, "hit": right.astype(float)})
        parts.append(told[collection.labels >= 0].assign(metric="top-1 accuracy (sentences)"))
    if pairs:
        both = text_pairs.hits(dual, pairs, dtype=dtype)
        told = pd.DataFrame({"group": [str(row) for row in range(len(both))], "hit": both})
        parts.append(told.assign(metric="text to text R@10"))
    return pd.concat(parts, ignore_index=True)


def gains(
    first: pd.DataFrame, second: pd.DataFrame, *, model: str, over: str, name: str, seed: int = 0
) -> list[Measurement]:
    """How much more one model finds than another, on the same queries.

    Args:
        first: of `hits`.
        second: of the other model.
        model: whose the first are.
        over: whose the second are.
        name: of the data.
        seed: of both models' runs, and of the bootstrap.

    Returns:
        For each metric that both have, say "text retrieval R@10 gain over CLIPPO", with a 95 %
        paired bootstrap interval over groups; n queries.

    Raises:
        ValueError: they were asked different things.
    """
    rows = []
    for metric, own in first.groupby("metric", sort=False):
        other = second[second.metric == metric]
        if other.empty:
            continue
        if list(own.group) != list(other.group):
            raise ValueError(
                f"expected {model} and {over} on the same queries of {metric}, got {len(own)} and "
                f"{len(other)} of other groups; ask both about the same collection"
            )
        ours, theirs, groups = (each.to_numpy() for each in (own.hit, other.hit, own.group))
        low, high = metrics.intervals.paired_difference(ours, theirs, seed=seed, groups=groups)
        value = min(max(float(ours.mean() - theirs.mean()), low), high)
        rows.append(
            Measurement(
                model=model, data=name, metric=f"{metric} gain over {over}", value=value, low=low,
                high=high, n=len(ours), seed=seed,
            )
        )  # fmt: skip
    return rows


def measures(frame: pd.DataFrame, data: str) -> pd.DataFrame:
    """The records that a table of the paper has a column for, each beside its chance.

    Args:
        frame: records, as `Run.frame` gives them.
        data: whose records count: this name, or it and a language after a colon.

    Returns:
        Rows of `frame` with the columns measure, chance and run ("seed 0"), in the order of
        `MEASURES`; measures without a record are left out.
    """
    own = frame[(frame.data == data) | frame.data.str.startswith(f"{data}:")]
    parts = []
    for measure, (metric, chance) in MEASURES.items():
        found = own[own.metric == metric].set_index(["model", "seed"])
        guessed = own[own.metric == chance].set_index(["model", "seed"]).value
        parts.append(found.assign(measure=measure, chance=guessed.reindex(found.index)))
    rows = pd.concat(parts).reset_index()
    return rows.assign(run="seed " + rows.seed.astype(int).astype(str))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a model, one column a measure: means over seeds.

    Args:
        rows: as `measures` gives them.
    """
    means = rows.groupby(["model", "measure"], sort=False).value.mean().unstack()
    order = [measure for measure in MEASURES if measure in means]
    return means.loc[list(dict.fromkeys(rows.model)), order]
