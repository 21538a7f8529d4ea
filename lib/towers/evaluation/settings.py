"""Tables 18 to 20 of CLIP rebuilt from code, beside the paper's own, and the models' compute.

Source: Radford et al. 2021, sections 2.4 and 2.5, appendix F.
"""

import pandas as pd

from towers import published
from towers.models import paper
from towers.records import Measurement

FAMILIES = {"ResNet": "RN50", "ViT": "ViT-B/32"}
"""The columns of Table 18, and a model that stands for each."""


def beside(number: int) -> pd.DataFrame:
    """The cells of Table 18, 19 or 20, the paper's beside ours, one row each.

    Args:
        number: of the table.

    Returns:
        Columns `model`, `setting`, `published`, `ours`, and whether it `agrees`. Rows and settings
        that one side lacks are there, and do not agree.

    Raises:
        ValueError: another table.
    """
    ours = paper.recipes() if number == 18 else paper.settings(number)
    key = "hyperparameter" if number == 18 else "model"
    sides = {"published": published.table("clip", number).frame, "ours": ours}
    long = [
        frame.astype(object).melt(id_vars=key, var_name="other", value_name=side)
        for side, frame in sides.items()
    ]
    cells = long[0].merge(long[1], on=[key, "other"], how="outer", sort=False)
    names = {key: "setting", "other": "model"} if number == 18 else {"other": "setting"}
    cells = cells.rename(columns=names)[["model", "setting", "published", "ours"]]
    return cells.assign(agrees=cells.published == cells.ours)


def evaluate() -> list[Measurement]:
    """How many cells of each table agree, and what each model counts and computes."""
    rows = []
    for number in (18, 19, 20):
        agrees = beside(number).agrees
        rows.append(_row("CLIP", f"Table {number}", "cells that agree", agrees.mean(), len(agrees)))
    counted = paper.compute().set_index("model")
    for model, counts in counted.iterrows():
        rows += [_row(model, "one pair", metric, value) for metric, value in counts.items()]
        for what in ("image FLOPs", "FLOPs"):
            times = counts[what] / counted[what]["RN50"]
            rows.append(_row(model, "one pair", f"{what} over RN50", times))
    return rows


def elsewhere() -> list[Measurement]:
    """What open_clip's own training takes where nobody says otherwise, for the rows of Table 18."""
    from open_clip_train.params import parse_args

    rows = []
    for family, model in FAMILIES.items():
        given = parse_args(["--model", paper.paper_models()[model].architecture])
        values = {
            "Batch size": given.batch_size,
            "Training epochs": given.epochs,
            "Weight decay": given.wd,
            "Warm-up iterations": given.warmup,
            "Adam β_1": given.beta1,
            "Adam β_2": given.beta2,
            "Adam ϵ": given.eps,
        }
        rows += [_row("open_clip_train", family, name, value) for name, value in values.items()]
    return rows


def _row(model: str, data: str, metric: str, value: float, n: int = 1) -> Measurement:
    return Measurement(model=model, data=data, metric=metric, value=float(value), n=n)
