"""A grid of sizes and amounts: each run keeps its own chance, and a made law is found again."""

import pandas as pd
import pytest

from towers.evaluation import growth

PARAMETERS = {"tiny": 10, "small": 100, "base": 1000}


def points(exponents=(-0.2, -0.1), sizes=tuple(PARAMETERS)):
    rows = [
        {"policy": policy, "towers": size, "pairs": pairs, "parameters": PARAMETERS[size],
         "error": 0.9 * pairs ** exponents[0] * PARAMETERS[size] ** exponents[1], "chance": 0.97}
        for policy in ("LilT", "CLIP") for size in sizes for pairs in (10, 40, 160)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def told(found, policy="LilT"):
    return {row.metric: row for row in found if row.model == policy}


def records():
    """Recalls at 1 and 10 of two runs with two seeds, and what they weigh."""
    rows = []
    for model, seed, value in (("a", 0, 0.2), ("a", 1, 0.4), ("b", 0, 0.6)):
        shared = {"model": model, "seed": seed, "low": 0.1, "high": 0.9, "n": 7}
        for direction, plus in (("text retrieval", 0.0), ("image retrieval", 0.1)):
            for k in (1, 10):
                metric, chance = f"{direction} R@{k}", f"{direction} chance R@{k}"
                rows += [
                    shared | {"data": "d:en", "metric": metric, "value": value + plus - 0.05 / k},
                    shared | {"data": "d:en", "metric": chance, "value": k / (100 + 100 * seed)},
                ]
        rows.append(shared | {"data": "pairs", "metric": "parameters", "value": 5 + seed})
    return pd.DataFrame(rows)


RUNS = pd.DataFrame([
    {"model": "b", "policy": "P", "towers": "t", "pairs": 20, "seed": 0},
    {"model": "a", "policy": "P", "towers": "t", "pairs": 10, "seed": 0},
    {"model": "a", "policy": "P", "towers": "t", "pairs": 10, "seed": 1},
])  # fmt: skip


def test_each_run_has_its_recall_beside_its_own_chance():
    found = growth.measured(records(), RUNS)
    assert found.model.tolist() == ["b", "b", "a", "a", "a", "a"]
    assert found.direction.tolist() == ["picture to caption", "caption to picture"] * 3
    assert found.value.tolist() == pytest.approx([0.595, 0.695, 0.195, 0.295, 0.395, 0.495])
    assert found.chance.tolist() == pytest.approx([0.1] * 4 + [0.05] * 2)
    assert found.parameters.tolist() == [5, 5, 5, 5, 6, 6]
    one = growth.measured(records(), RUNS, k=1)
    assert one.value.iloc[0] == pytest.approx(0.55)


def test_errors_are_means_over_directions_and_seeds():
    rows = growth.measured(records(), RUNS).assign(parameters=5)
    found = growth.errors(rows).set_index("pairs")
    assert found.error.to_dict() == pytest.approx({20: 1 - 0.645, 10: 1 - 0.345})
    assert found.chance.to_dict() == pytest.approx({20: 0.9, 10: 0.925})


def test_the_law_of_a_grid_is_found():
    found = told(growth.evaluate(points(), data="d"))
    assert found["exponent over pairs"].value == pytest.approx(-0.2)
    assert found["exponent over parameters"].value == pytest.approx(-0.1)
    assert found["r²"].value == pytest.approx(1)
    assert found["r²"].n == 9
    assert found["better with more pairs"].value == 1
    assert found["better with larger towers"].n == 6


def test_an_enlargement_that_does_not_help_is_counted():
    frame = points()
    worse = (frame.policy == "LilT") & (frame.towers == "base") & (frame.pairs == 160)
    frame.loc[worse, "error"] = 0.99
    found = told(growth.evaluate(frame, data="d"))
    assert found["better with more pairs"].value == pytest.approx(5 / 6)
    assert found["better with larger towers"].value == pytest.approx(5 / 6)
    equal = told(growth.evaluate(frame.assign(error=0.5), data="d"))
    assert equal["better with more pairs"].value == 0  # an equal error is not a better one


def test_the_band_is_that_of_the_middle_size():
    own = points().query("policy == 'LilT'")
    drawn = growth.band(own)
    assert drawn.pairs.iloc[[0, -1]].tolist() == pytest.approx([10, 160])
    assert drawn.value.iloc[0] == pytest.approx(own.error.iloc[3])  # small, the geometric mean
    assert (drawn.low <= drawn.value).all()
    assert (drawn.value <= drawn.high).all()


def test_where_there_is_no_fit_there_is_none():
    one = points(sizes=("base",))
    assert growth.band(one).empty
    assert "r²" not in told(growth.evaluate(one, data="d"))
    assert growth.band(points().assign(error=0.0)).empty
