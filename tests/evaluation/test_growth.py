"""A grid of sizes and amounts: errors by hand, and a made law that is found again."""

import pandas as pd
import pytest

from towers import records
from towers.evaluation import growth

PARAMETERS = {"tiny": 10, "small": 100, "base": 1000}


def points(exponents=(-0.2, -0.1), sizes=tuple(PARAMETERS)):
    rows = [
        {"model": policy, "towers": size, "pairs": pairs, "parameters": PARAMETERS[size],
         "error": 0.9 * pairs ** exponents[0] * PARAMETERS[size] ** exponents[1], "chance": 0.97}
        for policy in ("LilT", "CLIP") for size in sizes for pairs in (10, 40, 160)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def told(found, model="LilT"):
    return {row.at.get("over", row.metric): row for row in found if row.model == model}


def measured():
    """Recalls at 1 and 10 of two runs, one of them with two seeds, and what they weigh."""
    rows = []
    for pairs, seed, value in ((20, 0, 0.6), (10, 0, 0.2), (10, 1, 0.4)):
        of = {"experiment": "lilt/toy", "scale": "smoke", "model": "P", "data": "d", "n": 7}
        of, at = of | {"seed": seed}, {"towers": "t", "pairs": pairs}
        for direction, plus in (("text retrieval", 0.0), ("image retrieval", 0.1)):
            for k in (1, 10):
                of["at"] = at | {"direction": direction, "k": k}
                of["value"] = value + plus - 0.05 / k
                rows.append(records.Record(metric="recall", chance=k / (100 + 100 * seed), **of))
        of |= {"at": at, "value": 5 + pairs}
        rows.append(records.Record(metric="parameters", **of))
    return records.frame(rows)


def test_errors_are_means_over_directions_and_seeds():
    found = growth.errors(measured())
    assert (found.model == "P").all()
    assert (found.towers == "t").all()
    assert found.pairs.tolist() == [20, 10]
    assert found.parameters.tolist() == [25, 15]
    assert found.error.tolist() == pytest.approx([1 - 0.645, 1 - 0.345])
    assert found.chance.tolist() == pytest.approx([0.9, 0.925])
    one = growth.errors(measured(), k=1)
    assert one.error.tolist() == pytest.approx([1 - 0.6, 1 - 0.3])
    assert one.chance.tolist() == pytest.approx([0.99, 0.9925])


def test_the_law_of_a_grid_is_found():
    found = told(growth.evaluate(points(), data="d"))
    assert found["pairs"].value == pytest.approx(-0.2)
    assert found["parameters"].value == pytest.approx(-0.1)
    assert found["pairs"].metric == found["parameters"].metric == "exponent"
    assert found["r²"].value == pytest.approx(1)
    assert found["r²"].n == 9
    assert found["better with more pairs"].value == 1
    assert found["better with larger towers"].n == 6


def test_an_enlargement_that_does_not_help_is_counted():
    frame = points()
    worse = (frame.model == "LilT") & (frame.towers == "base") & (frame.pairs == 160)
    frame.loc[worse, "error"] = 0.99
    found = told(growth.evaluate(frame, data="d"))
    assert found["better with more pairs"].value == pytest.approx(5 / 6)
    assert found["better with larger towers"].value == pytest.approx(5 / 6)
    equal = told(growth.evaluate(frame.assign(error=0.5), data="d"))
    assert equal["better with more pairs"].value == 0  # an equal error is not a better one


def test_the_band_is_that_of_the_middle_size():
    own = points().query("model == 'LilT'")
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
