"""Two runs are compared update by update and weight by weight."""

import pytest

from tests.training.toy_runs import train
from towers import training
from towers.training import logs


def test_a_run_agrees_with_itself_and_another_seed_does_not(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tmp_path / folder, seed=seed)
    same, other = (
        {row.metric: row for row in logs.agreement(tmp_path / "a", tmp_path / name,
                                                   model="toy", data="toys", seed=0)}
        for name in ("b", "c")
    )  # fmt: skip
    apart = ("largest relative difference of the loss", "largest difference of a weight")
    assert [same[metric].value for metric in apart] == [0, 0]
    assert all(other[metric].value > 1e-4 for metric in apart)
    assert same["largest weight"].value > 0
    assert {row.n for row in same.values()} == {12}


def test_runs_of_other_lengths_are_refused(tmp_path):
    train(tmp_path / "a")
    train(tmp_path / "b", steps=6)
    with pytest.raises(training.TrainingError, match="got 12 and 6 updates"):
        logs.agreement(tmp_path / "a", tmp_path / "b", model="toy", data="toys")


def test_updates_are_a_row_each(tmp_path):
    train(tmp_path / "a", evaluate=lambda objective: {"accuracy": 0.5})
    rows = logs.updates(tmp_path / "a", "mine")
    assert list(rows.step) == list(range(1, 13))
    assert set(rows.run) == {"mine"}
