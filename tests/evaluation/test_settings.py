"""Tables 18 to 20 beside the paper's: agreement is counted cell by cell, and disagreement shown."""

import pytest

from towers import published
from towers.evaluation import settings
from towers.models import paper


@pytest.mark.parametrize(("number", "cells"), [(18, 9 * 2), (19, 5 * 8), (20, 4 * 9)])
def test_every_cell_of_the_papers_tables_agrees(number, cells):
    rows = settings.beside(number)
    assert len(rows) == cells
    assert rows[~rows.agrees].empty


def test_a_wrong_cell_and_a_missing_row_are_shown(monkeypatch):
    ours = paper.settings(20).iloc[:3].copy()
    ours.loc[1, "Vision Transformer heads"] = 16
    monkeypatch.setattr(paper, "settings", lambda number: ours)
    rows = settings.beside(20)
    wrong = rows[~rows.agrees]
    assert set(wrong.model) == {"ViT-B/16", "ViT-L/14-336px"}
    assert len(wrong) == 1 + 9
    one = wrong[wrong.model == "ViT-B/16"].iloc[0]
    assert (one.setting, one.published, one.ours) == ("Vision Transformer heads", 12, 16)


def test_measurements_of_tables_and_compute():
    rows = {(row.model, row.data, row.metric): row for row in settings.evaluate()}
    assert rows["CLIP", "Table 19", "cells that agree"].value == 1
    assert rows["CLIP", "Table 19", "cells that agree"].n == 40
    assert rows["RN50", "one pair", "image FLOPs over RN50"].value == 1
    assert rows["RN50x64", "one pair", "image FLOPs over RN50"].value == pytest.approx(
        529.107 / 12.2229, rel=1e-4
    )


def test_open_clips_defaults_share_adam_and_not_the_batch():
    theirs = {(row.data, row.metric): row.value for row in settings.elsewhere()}
    table = published.table("clip", 18)
    for family in ("ResNet", "ViT"):
        for name in ("Adam β_1", "Adam β_2", "Adam ϵ", "Weight decay", "Training epochs"):
            assert theirs[family, name] == table.value(family, hyperparameter=name)
        assert theirs[family, "Batch size"] != table.value(family, hyperparameter="Batch size")
