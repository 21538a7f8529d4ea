"""Tables of a family: logs in stretches, measures beside their chance."""

import pandas as pd
import pytest

from towers.evaluation import family


def log(losses, speed=10.0):
    return [
        {"step": step, "loss": loss, "pairs_per_second": speed + step}
        for step, loss in enumerate(losses, 1)
    ] + [{"step": len(losses), "evaluation": {}}]


def test_losses_are_averaged_over_equal_stretches():
    found = family.losses({("a", 0): log([4, 2, 3, 1]), ("b", 0): log([8, 8, 8, 8])}, 10, points=2)
    assert found.query("model == 'a'").loss.tolist() == [3, 2]
    assert found.query("model == 'b'").pairs.tolist() == [15, 35]


def test_each_measure_has_the_chance_of_its_own_run():
    recall, chance = "text retrieval R@10", "text retrieval chance R@10"
    rows = [
        ("a", 0, "d:en", recall, 0.5), ("a", 0, "d:en", chance, 0.1),
        ("a", 1, "d:en", recall, 0.7), ("a", 1, "d:en", chance, 0.2),
        ("b", 0, "d", "top-1 accuracy (sentences)", 0.3), ("b", 0, "d", "top-1 chance", 0.05),
        ("a", 0, "d2", recall, 0.9),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["model", "seed", "data", "metric", "value"])
    found = family.measures(frame, "d")
    assert found.chance.tolist() == [0.1, 0.2, 0.05]
    assert found.run.tolist() == ["seed 0", "seed 1", "seed 0"]
    table = family.table(found)
    assert table.loc["a", "I→T R@10"] == pytest.approx(0.6)
    assert list(table.columns) == ["I→T R@10", "zero-shot"]
