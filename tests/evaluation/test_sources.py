"""Two sources compared: paired by seed, won by sign, sure only where the interval says so."""

import numpy as np
import pandas as pd
import pytest

from towers.evaluation import sources
from towers.metrics import intervals


def records(values: dict) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "model": model,
                "data": data,
                "seed": seed,
                "value": value,
                **sources.ASKED[0],
            }
            for (model, data), of_seeds in values.items()
            for seed, value in enumerate(of_seeds)
        ]
    )


FRAME = records({
    ("a", "easy"): [0.9, 0.8, 0.7], ("b", "easy"): [0.8, 0.7, 0.6],
    ("a", "hard"): [0.1, 0.3, 0.2], ("b", "hard"): [0.2, 0.2, 0.21],
    ("c", "hard"): [0.0, 0.0, 0.0], ("a", "alone"): [0.5, 0.5, 0.5],
})  # fmt: skip


def test_differences_are_paired_by_seed():
    found = sources.compare(FRAME, "a", "b").set_index("data")
    assert list(found.index) == ["easy", "hard", "all"]
    assert found.difference["easy"] == pytest.approx(0.1)
    # the seeds scatter, the differences do not
    assert (found.low["easy"], found.high["easy"]) == pytest.approx((0.1, 0.1))
    assert found.low["hard"] < 0 < found.high["hard"]
    assert found.b["hard"] == pytest.approx(0.61 / 3)


def test_wins_are_counted_and_sure_ones_apart():
    rows = sources.evaluate(sources.compare(FRAME, "a", "b"))
    of = {(row.model, row.metric): row.value for row in rows if row.data == "all"}
    assert (of["a", "wins"], of["b", "wins"]) == (1, 1)
    assert (of["a", "sure wins"], of["b", "sure wins"]) == (1, 0)
    (whole,) = [row for row in rows if row.metric == "average gain"]
    assert (whole.model, whole.at) == ("a", {"over": "b", "averaged": "seeds"})
    of_seeds = np.array([(0.1 - 0.1) / 2, (0.1 + 0.1) / 2, (0.1 - 0.01) / 2])
    assert whole.value == pytest.approx(of_seeds.mean())
    assert (whole.low, whole.high) == pytest.approx(intervals.student(of_seeds))


def test_what_was_not_measured_together_or_once_only_is_refused():
    with pytest.raises(ValueError, match="models are: a, b, c"):
        sources.compare(FRAME, "a", "d")
    with pytest.raises(ValueError, match="run more seeds"):
        sources.compare(FRAME[FRAME.seed == 0], "a", "b")
