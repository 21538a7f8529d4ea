"""Error against compute: what a law made is found again, and means come before fits."""

import pandas as pd
import pytest

from towers.evaluation import scaling
from towers.evaluation.scaling import forward_flops as FORWARD

TEXT = "scratch:bow?width=16&context=16&vocabulary=514"


def resnet(width: int) -> str:
    return f"scratch:resnet?image=32&width={width}&layers=1,1,1,1"


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """Models whose compute is their name."""
    monkeypatch.setattr(scaling, "forward_flops", lambda image, _: int(image))


def ladder(exponent: float = -0.25) -> pd.DataFrame:
    """Runs whose average error is a power of the model's compute, off by a factor in each seed."""
    rows = []
    for flops, pairs, seed in (
        (f, p, s) for f in (1, 4, 9, 30) for p in (100, 200) for s in (0, 1)
    ):
        error = 0.8 * flops**exponent * (100 / pairs) ** 0.1 * (0.9, 1.1)[seed]
        found = {"flat, colour": 1 - 0.5 * error, "flat, shape": 1 - 1.5 * error}
        log = [{"step": 1, "loss": 1.0}, {"step": 2, "evaluation": found | {"accuracy": 1 - error}}]
        rows.append(
            scaling.errors(
                log, model=f"{flops}", image=f"{flops}", text=TEXT, pairs=pairs, seed=seed
            )
        )
    return pd.concat(rows)


def test_compute_of_a_pair_is_that_of_both_towers_and_grows_with_their_width():
    small, large = (FORWARD(resnet(width), TEXT) for width in (4, 8))
    # of the convolutions all but the first grow with both sides
    assert 2 * small < large < 4 * small


def test_errors_are_what_is_missing_to_the_last_accuracies():
    log = [{"step": 1, "evaluation": {"accuracy": 0.1}},
           {"step": 9, "evaluation": {"flat, shape": 0.25, "accuracy": 0.75}}]  # fmt: skip
    found = scaling.errors(log, model="m", image="10", text=TEXT, pairs=7, seed=3)
    assert found.set_index("evaluation").error.to_dict() == {"flat, shape": 0.75, "average": 0.25}
    assert set(found["training FLOPs"]) == {3 * 10 * 7}


def test_the_law_over_models_is_found_at_the_most_pairs():
    measured = scaling.evaluate(ladder(), count=10, data="toys")
    rows = {(row.metric, *row.at.values()): row for row in measured if row.model == "ladder"}
    assert rows["exponent", "models"].value == pytest.approx(-0.25)
    assert rows["exponent", "models"].n == 4
    assert rows["range of compute", "models"].value == 30
    assert rows["r²", "models"].value == pytest.approx(1)


def test_the_frontier_over_compute_leaves_out_what_is_beaten():
    frame = ladder()
    worse = frame.pairs == 200
    frame.loc[worse & (frame.model == "4"), "error"] = 0.9
    over = scaling.over_compute(frame).set_index(["model", "pairs"])
    assert len(over) == 8
    assert not over.frontier["4", 200]
    assert over.frontier["1", 100]
    assert over.error["9", 100] == pytest.approx(0.8 * 9**-0.25)  # the mean over two seeds


def test_the_band_holds_the_line_and_spans_the_sizes():
    points = scaling.over_models(ladder()).query("evaluation == 'average'")
    drawn = scaling.band(points, "model FLOPs")
    assert (drawn.low <= drawn.value).all()
    assert (drawn.value <= drawn.high).all()
    assert drawn["model FLOPs"].iloc[[0, -1]].tolist() == pytest.approx([1, 30])
    assert scaling.band(points[:2], "model FLOPs").empty
