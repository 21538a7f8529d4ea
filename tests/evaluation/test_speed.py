"""Comparisons with peers: fair turns, no ratio without agreement, and every real row runs."""

import textwrap
import time

import pytest
import torch

from towers import cli
from towers.evaluation import speed

MADE_UP = """
METRIC = "squares of {{count:,}} numbers"
PEER = "a loop"
GOAL = 3.0
PEER_SETTINGS = {{"speed": (1, 4, 2), "colour": ("red",)}}
SIZES = {{"full": {{"count": 2000}}, "laptop": {{"count": 20}}, "smoke": {{"count": 2}}}}
UNIT = "GB"
CALLS = []

def prepare(count):
    def ours():
        CALLS.append("ours")
        return {ours}
    def peer(speed, colour):
        CALLS.append(speed)
        return 24.0 / speed
    return ours, peer

def measure(call, **setting):
    return call(**setting), 7

def agree(ours, peer):
    return {agree}
"""
SIZED = "expected a size of full, laptop, smoke and at least one repeat"


@pytest.fixture
def bench(tmp_path, request):
    """Writes a benchmark into a folder of its own, and gives the folder."""

    def write(ours: str = "2.0", agree: str = "ours == peer == 7", more: str = ""):
        folder = tmp_path / f"bench_{abs(hash(request.node.nodeid))}_{time.monotonic_ns()}"
        folder.mkdir()
        source = MADE_UP.format(ours=ours, agree=agree) + textwrap.dedent(more)
        (folder / "squares.py").write_text(source)
        (folder / "_hidden.py").write_text("1 / 0")
        return folder

    return write


def calls(folder):
    return speed._load("squares", folder).CALLS


def test_finds_benchmarks_and_not_what_they_share(bench):
    assert speed.names(bench()) == ["squares"]


def test_takes_turns_with_the_peer_at_its_best(bench):
    folder = bench()
    found = speed.compare("squares", "full", 3, folder=folder)
    assert calls(folder) == [1, 4, 2, "ours", *["ours", 4] * 3]
    assert (found.setting, found.unit) == ("speed 4, colour red", "GB")
    assert (found.ours, found.peers) == ((2.0,) * 3, (6.0,) * 3)
    assert found.metric == "squares of 2,000 numbers"


def test_measures_nothing_where_results_differ(bench):
    folder = bench(agree="False")
    found = speed.compare("squares", "full", 3, folder=folder)
    assert calls(folder) == [1, 4, 2, "ours"]
    assert (found.ratio, found.ours, found.met) == (None, (), False)
    assert "results differ" in found.line()
    assert [(row.metric, row.value) for row in speed.evaluate([found])] == [("results agree", 0.0)]


def test_gives_the_median_of_the_turns_ratios_not_the_ratio_of_medians():
    sides = (1.0, 2.0, 4.0), (9.0, 2.0, 20.0)
    found = speed.Comparison("a", "b", "c", "", "s", "full", *sides, goal=5, agreed=True)
    assert found.ratios == (9.0, 1.0, 5.0)
    assert found.ratio == 5.0
    assert found.met is True
    first, *others = speed.evaluate([found])
    assert (first.value, first.low, first.high, first.n) == (5.0, 1.0, 9.0, 3)
    assert {(row.model, row.metric): row.value for row in others} == {
        ("towers", "goal at full size"): 5.0,
        ("towers", "median (s)"): 2.0,
        ("c", "median (s)"): 9.0,
        ("towers", "results agree"): 1.0,
    }


@pytest.mark.parametrize(("size", "met"), [("full", True), ("laptop", None), ("smoke", None)])
def test_goals_are_for_the_full_size(bench, size, met):
    assert speed.compare("squares", size, 1, folder=bench()).met is met
    assert speed.compare("squares", size, 1, folder=bench(ours="2.1")).met is (met and False)


def test_takes_no_more_turns_than_make_sense_and_asks_for_notes(bench):
    more = """
        REPEATS = 2
        def notes(ours, peer, count):
            return {"sum": ours + peer + count}
    """
    found = speed.compare("squares", "laptop", 9, folder=bench(more=more))
    assert len(found.ours) == 2
    assert found.notes == {"sum": 2 + 6 + 20}
    assert "sum 28" in found.line()
    assert 28.0 in [row.value for row in speed.evaluate([found]) if row.metric == "sum"]


def test_times_calls_and_gives_threads_and_random_numbers_back(bench):
    more = """
        import time, torch
        del measure, UNIT
        def prepare(count):
            def ours():
                torch.set_num_threads(3)
                torch.manual_seed(5)
            return ours, lambda speed, colour: time.sleep(0.02 / speed)
        def agree(ours, peer):
            return ours is peer is None
    """
    torch.set_num_threads(threads := torch.get_num_threads())
    state = torch.get_rng_state()
    found = speed.compare("squares", "smoke", 2, folder=bench(more=more))
    assert found.unit == "s"
    assert all(0.005 <= seconds < 0.02 for seconds in found.peers)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("triangles",), "expected a benchmark of squares, got 'triangles'"),
        (("squares", "huge"), f"{SIZED}, got 'huge' and 5"),
        (("squares", "full", 0), f"{SIZED}, got 'full' and 0"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_one_line(bench, arguments, message):
    with pytest.raises(speed.SpeedError) as error:
        speed.compare(*arguments, folder=bench())
    assert str(error.value) == message


def test_a_peer_that_is_not_installed_is_one_line(bench):
    with pytest.raises(speed.SpeedError, match="expected the package no_such_peer for squares"):
        speed.compare("squares", folder=bench(more="import no_such_peer"))


@pytest.mark.parametrize(
    ("given", "size", "code"),
    [({}, "full", 0), ({"ours": "2.1"}, "full", 1), ({"ours": "2.1"}, "smoke", 0),
     ({"agree": "False"}, "smoke", 1)],
)  # fmt: skip
def test_the_command_prints_a_table_and_fails_with_a_goal(
    bench, monkeypatch, capsys, given, size, code
):
    folder = bench(**given)
    monkeypatch.setattr(speed, "_home", lambda _: folder)
    assert cli.main(["bench", "squares", "--size", size, "--repeats", "2"]) == code
    head, rule, row = capsys.readouterr().out.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| squares of ")


def test_the_command_refuses_before_it_measures(capsys):
    assert cli.main(["bench", "clip_loss_time", "nothing"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", speed.names())
@pytest.mark.slow
def test_every_row_runs_and_agrees(name):
    found = speed.compare(name, "smoke", 1)
    assert found.agreed
    assert found.ratio > 0
    assert set(speed._load(name, speed._home(None)).SIZES) == set(speed.SIZES)
