"""The time left: from what is expected and what was seen, never below zero and never at rest."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers import files
from towers.report.chapters import (
    CAUTION,
    Chapter,
    failure,
    log_of,
    priorities,
    seconds_left,
    span,
)

SECONDS = st.floats(0, 1e6)
CHAPTERS = st.lists(
    st.builds(
        Chapter,
        name=st.just("a/one"),
        expected=st.floats(1, 1e6),
        spent=SECONDS,
        state=st.sampled_from(["waiting", "running", "done", "failed", "skipped"]),
    ),
    max_size=12,
)


def waiting(*expected: float) -> list[Chapter]:
    """Chapters that wait, by the seconds that they are expected to take."""
    return [Chapter("a/one", seconds) for seconds in expected]


def test_nothing_is_left_when_all_have_ended():
    ended = [Chapter("a/one", 60, state=state, spent=5) for state in ("done", "failed", "skipped")]
    assert seconds_left(ended, 2) == seconds_left([], 2) == 0


def test_chapters_share_the_places_there_are():
    assert seconds_left(waiting(30, 20, 10), 1) == 60
    assert seconds_left(waiting(30, 20, 10), 2) == 30  # 30 beside 20 + 10
    assert seconds_left(waiting(30, 20, 10), 9) == 30


def test_the_first_of_a_long_chain_is_more_urgent_than_one_long_chapter():
    chain = [
        Chapter("a/one", 40),
        Chapter("a/two", 30, ["a/one"]),
        Chapter("a/three", 10, ["a/two"]),
    ]
    chapters = [*chain, Chapter("b/alone", 60), Chapter("b/other", 5, ["a/one", "c/fresh"])]
    assert priorities(chapters) == {
        "a/one": 40 + 30 + 10, "a/two": 30 + 10, "a/three": 10, "b/alone": 60, "b/other": 5,
    }  # fmt: skip


def test_a_machine_that_takes_twice_as_long_doubles_what_is_left():
    slow = Chapter("a/slow", 1e6, state="done", spent=2e6)  # so long that caution no longer counts
    assert seconds_left([slow, *waiting(100)], 1) == pytest.approx(200, rel=CAUTION / 1e6)


def test_a_quick_chapter_says_little_of_the_others():
    quick = Chapter("a/quick", 1, state="done", spent=10)
    left = seconds_left([quick, *waiting(600)], 1)
    assert left == pytest.approx(600 * (CAUTION + 10) / (CAUTION + 1))  # ten times was seen


def test_the_estimate_falls_as_a_chapter_runs_and_grows_once_it_is_overdue():
    at = [
        seconds_left([Chapter("a/one", 100, state="running", spent=spent)], 1)
        for spent in range(400)
    ]
    assert at[:3] == [100, 99, 98]
    grows = [later - sooner for sooner, later in itertools.pairwise(at)]
    assert min(at) >= 19  # a quarter of the time it has had, where the two meet at 80 s
    assert all(step != 0 for step in grows)
    assert all(step > 0 for step in grows[100:])


@given(chapters=CHAPTERS, jobs=st.integers(1, 8))
def test_it_is_never_negative_and_more_places_never_take_longer_than_one(chapters, jobs):
    at_once = seconds_left(chapters, jobs)
    assert at_once >= 0
    busy = sum(c.state == "running" for c in chapters)
    if busy <= 1:  # those that run already do so side by side
        assert at_once <= seconds_left(chapters, 1) * (1 + 1e-9)
    assert at_once > 0 or not any(c.state == "waiting" for c in chapters)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "1 h 30 min"), (7500, "2 h 05 min")],
)
def test_times_are_told_as_people_tell_them(seconds, text):
    assert span(seconds) == text


class TestFailure:
    """What a page says of a run that gave no result."""

    @pytest.fixture
    def log(self, checkout):
        """The log of a failed run of a/one, at half past ten."""
        path = log_of("a/one", "smoke", checkout)
        files.atomic_write(path, "towers: resuming\ntowers: error: a/one failed: 3 < 2\n\n")
        os.utime(path, (1_790_764_200, 1_790_764_200))
        return path

    def test_is_its_last_line_and_its_time(self, log):
        found = failure("a/one", "smoke")
        assert (found.when, found.cause) == ("2026-09-30 10:30", "a/one failed: 3 < 2")

    def test_is_over_once_it_has_run_well(self, log, checkout):
        files.atomic_write(checkout / "results/a/one/smoke/records.json", "{}")
        assert failure("a/one", "smoke") is None

    def test_is_not_told_of_a_run_that_goes_on_or_never_began(self, log):
        log.write_text("towers: error: old\ntowers: resuming")
        assert failure("a/one", "smoke") is None
        assert failure("a/two", "smoke") is None
