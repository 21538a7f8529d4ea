"""Models that differ in what they share, side by side: how they learnt, and what they can do.

Source: Tschannen et al. 2023, Tables 1, 6 and 9.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

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
