"""A run is stopped when it no longer moves, not when it takes longer than expected."""

import math

import pytest

from tests import made_up_book
from towers import experiments
from towers.experiments import ExperimentError
from towers.experiments.limits import STALL, Limits, limits


@pytest.fixture
def budget(checkout, monkeypatch):
    """An experiment of a budget in minutes, at every scale."""
    monkeypatch.delenv(STALL, raising=False)

    def made(minutes: float) -> experiments.Experiment:
        yaml = made_up_book.YAML.replace("laptop: 1", f"laptop: {minutes}")
        made_up_book.add(checkout, "a/one", yaml=yaml)
        return experiments.get("a/one")

    return made


@pytest.mark.parametrize(("minutes", "stall"), [(0.5, 10), (100, 10), (30_000, 3000)])
def test_a_hang_may_cost_ten_minutes_or_a_tenth_of_the_budget(budget, minutes, stall):
    assert limits(budget(minutes), "laptop") == Limits(60 * stall, math.inf)


def test_other_limits_can_be_asked_for(budget, monkeypatch):
    monkeypatch.setenv(STALL, "0.5")
    assert limits(budget(1), "laptop", minutes=2) == Limits(30, 120)


@pytest.mark.parametrize("given", ["0", "-1", "nan", "soon"])
def test_a_stall_of_no_minutes_is_refused(budget, monkeypatch, given):
    monkeypatch.setenv(STALL, given)
    with pytest.raises(ExperimentError, match=f"{STALL} as a number > 0, got '{given}'"):
        limits(budget(1), "laptop")


def test_who_moves_may_go_on_for_ever():
    assert Limits(stall=600).reached(still=599, spent=1e9) is None
    assert "nothing has moved for 10 min" in Limits(stall=600).reached(still=600, spent=600)
    assert Limits(600, 60).reached(still=0, spent=60) == "the time limit of 1 min is over"
