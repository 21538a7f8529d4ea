"""Errors against sizes: what a law made is found again, and means come before fits."""

import itertools

import pandas as pd
import pytest

from towers.evaluation import scaling
from towers.evaluation.scaling import forward_flops as FORWARD

TEXT = "scratch:bow?width=16&context=16&vocabulary=514"
PARAMETERS = {"tiny": 10, "small": 100, "base": 1000}
FACTORS = ("pairs", "parameters")


def resnet(width: int) -> str:
    return f"scratch:resnet?image=32&width={width}&layers=1,1,1,1"


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """Models whose compute is their name."""
    monkeypatch.setattr(scaling, "forward_flops", lambda image, _: int(image))


def ladder(exponent: float = -0.25) -> pd.DataFrame:
    """Runs whose average error is a power of the model's compute, off by a factor in each seed."""
    rows = []
    for flops, pairs, seed in itertools.product((1, 4, 9, 30), (100, 200), (0, 1)):
        error = 0.8 * flops**exponent * (100 / pairs) ** 0.1 * (0.9, 1.1)[seed]
        found = {"flat, colour": 1 - 0.5 * error, "flat, shape": 1 - 1.5 * error}
        log = [{"step": 1, "loss": 1.0}, {"step": 2, "evaluation": found | {"accuracy": 1 - error}}]
        towers = {"image": f"{flops}", "text": TEXT}
        rows.append(scaling.errors(log, model=f"{flops}", **towers, pairs=pairs, seed=seed))
    return pd.concat(rows)


def grid(exponents=(-0.2, -0.1), sizes=tuple(PARAMETERS)) -> pd.DataFrame:
    """Errors that are a product of powers of pairs and parameters."""
    rows = [
        {"towers": size, "pairs": pairs, "parameters": PARAMETERS[size],
         "error": 0.9 * pairs ** exponents[0] * PARAMETERS[size] ** exponents[1]}
        for size in sizes for pairs in (10, 40, 160)
    ]  # fmt: skip
    return pd.DataFrame(rows)


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
    assert set(found.seed) == {3}


def test_the_law_over_models_is_found_at_the_most_pairs():
    means = scaling.over_seeds(ladder()).query("pairs == 200 and evaluation == 'average'")
    at = {"over": "models"}
    exponent, fitted = scaling.evaluate(means, ["model FLOPs"], model="m", data="toys", at=at)
    assert exponent.value == pytest.approx(-0.25)
    assert (exponent.n, exponent.at, exponent.metric) == (4, at, "exponent")
    assert (fitted.value, fitted.metric, fitted.at) == (pytest.approx(1), "r²", at)


def test_the_frontier_over_compute_leaves_out_what_is_beaten():
    frame = ladder()
    frame.loc[(frame.pairs == 200) & (frame.model == "4"), "error"] = 0.9
    means = scaling.over_seeds(frame).query("evaluation == 'average'")
    means = means.set_index(["model", "pairs"])
    assert len(means) == 8
    assert not means.frontier["4", 200]
    assert means.frontier["1", 100]
    assert means.error["9", 100] == pytest.approx(0.8 * 9**-0.25)  # the mean over two seeds


def test_the_band_holds_the_line_and_spans_the_sizes():
    points = scaling.over_seeds(ladder()).query("pairs == 200 and evaluation == 'average'")
    drawn = scaling.band(points, ["model FLOPs"])
    assert (drawn.low <= drawn.value).all()
    assert (drawn.value <= drawn.high).all()
    assert drawn["model FLOPs"].iloc[[0, -1]].tolist() == pytest.approx([1, 30])
    assert scaling.band(points[:2], ["model FLOPs"]).empty


def test_the_law_of_a_grid_is_found():
    rows = scaling.evaluate(grid(), FACTORS, model="m", data="d")
    assert [(row.metric, row.at) for row in rows] == [
        ("exponent", {"over": "pairs"}), ("exponent", {"over": "parameters"}), ("r²", {}),
    ]  # fmt: skip
    assert [row.value for row in rows] == pytest.approx([-0.2, -0.1, 1])
    assert {row.n for row in rows} == {9}


def test_an_enlargement_that_does_not_help_is_counted():
    def shares(points):
        return {row.metric: row.value for row in scaling.better(points, model="m", data="d")}

    frame = grid()
    assert shares(frame) == {"better with larger towers": 1, "better with more pairs": 1}
    frame.loc[(frame.towers == "base") & (frame.pairs == 160), "error"] = 0.99
    assert shares(frame) == pytest.approx(
        {"better with larger towers": 5 / 6, "better with more pairs": 5 / 6}
    )
    # an equal error is not a better one
    assert set(shares(frame.assign(error=0.5)).values()) == {0}
    assert list(shares(grid(sizes=("base",)))) == ["better with more pairs"]


def test_the_band_of_a_grid_is_that_of_the_middle_size():
    drawn = scaling.band(grid(), FACTORS)
    assert drawn.pairs.iloc[[0, -1]].tolist() == pytest.approx([10, 160])
    assert drawn.value.iloc[0] == pytest.approx(grid().error.iloc[3])  # small, the geometric mean
    assert (drawn.low <= drawn.value).all()
    assert (drawn.value <= drawn.high).all()


def test_where_there_is_no_law_there_is_none():
    one = grid(sizes=("base",))
    assert scaling.band(one, FACTORS).empty
    assert scaling.evaluate(one, FACTORS, model="m", data="d") == []
    assert scaling.band(grid().assign(error=0.0), FACTORS).empty
