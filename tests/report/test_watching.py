"""What a report shows while its chapters run, and the first pages that come before the last."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import made_up_book
from towers.report import book, graph, html
from towers.report.chapters import Chapter, failure, log_of

SNAKEFILE = Path(__file__).parents[2] / "Snakefile"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_report_that_is_stopped_leaves_nothing_running(checkout, number):
    made_up_book.add(checkout, "first/slow", "import time; time.sleep(600)")
    (checkout / "_toc.yml").write_text("- file: book/run/first/slow\n")
    (checkout / "Snakefile").write_text(SNAKEFILE.read_text())
    command = [sys.executable, "-m", "towers.cli", "report", "--scale", "smoke"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    us, started = psutil.Process(process.pid), []
    while not any("ipykernel_launcher" in each.cmdline() for each in started):
        assert process.poll() is None
        time.sleep(0.2)
        started = us.children(recursive=True)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1].startswith("towers: error: ")
    assert not psutil.wait_procs(started, timeout=20)[1]


@pytest.fixture
def chapters(checkout):
    """Three chapters in two parts, none of which has run."""
    names = ("first/one", "first/two", "second/three")
    for name in names:
        made_up_book.add(checkout, name)
    return [Chapter(name, 60.0) for name in names]


class Built:
    """A build of which nothing is shown but that it was asked for."""

    begun = 0
    stopped = 0
    running = True

    def __init__(self, root, scale):
        Built.begun += 1

    def publish(self) -> str | None:
        (shown := html.first_page(self.root)).parent.mkdir(parents=True)
        shown.touch()

    def stop(self) -> None:
        Built.stopped += 1


def watch(chapters, checkout, steps, monkeypatch, building=Built) -> list[int]:
    """How many builds had begun after each step; a step gives chapters their states."""
    Built.begun = Built.stopped = 0
    begun = []
    monkeypatch.setattr(book, "Build", building)
    building.root = checkout

    def looks():
        for states in steps:
            for chapter, state in zip(chapters, states, strict=True):
                chapter.state = state
            yield
            begun.append(Built.begun)

    book._watch(looks(), chapters, ["first/one", "first/two"], checkout, "smoke", 2)
    return begun


STEPS = [
    ("running", "running", "waiting"),
    ("done", "running", "running"),
    ("done", "failed", "running"),
    ("done", "failed", "running"),
    ("done", "failed", "done"),
]


def test_the_first_pages_are_built_once_the_first_part_has_run(chapters, checkout, monkeypatch):
    assert watch(chapters, checkout, STEPS, monkeypatch) == [0, 0, 1, 1, 1]
    assert Built.stopped == 1  # it was still at work when the whole book could be built


@pytest.mark.parametrize(("minutes", "begun"), [(1, [0, 0, 0, 0, 0]), (60, [0, 0, 1, 1, 1])])
def test_older_pages_stay_only_where_the_last_chapter_ends_soon(
    chapters, checkout, monkeypatch, minutes, begun
):
    html.first_page(checkout).parent.mkdir(parents=True)
    html.first_page(checkout).touch()
    chapters[-1].expected = 60.0 * minutes
    assert watch(chapters, checkout, STEPS, monkeypatch) == begun


def test_finished_first_pages_are_shown_and_told_of(chapters, checkout, monkeypatch, capsys):
    monkeypatch.setattr(Built, "running", False)
    watch(chapters, checkout, STEPS, monkeypatch)
    assert html.first_page(checkout).is_file()
    assert "first pages: " in capsys.readouterr().err
    assert Built.stopped == 0


def test_first_pages_that_cannot_be_built_are_a_warning(chapters, checkout, monkeypatch, capsys):
    class Broken(Built):
        def __init__(self, root, scale):
            raise html.ReportError("no theme")

    watch(chapters, checkout, STEPS, monkeypatch, Broken)
    assert capsys.readouterr().err.count("warning: the first pages could not be built: no th") == 1


def test_the_line_beside_the_bar_counts_and_names():
    states = [("a/one", "done"), ("a/two", "failed"), ("a/three", "running"), ("a/four", "waiting")]
    chapters = [Chapter(name, 1, state=state) for name, state in states]
    line = book._standing(chapters, 75, 600)
    assert line == "1/4 chapters, 1 failed, 01:15, about 10 min left: a/three"
    assert len(book._standing(chapters[2:], 0, 0)) < 60


def test_what_needs_a_chapter_that_failed_is_left_out_at_once():
    chain = [("a/three", ["a/two"]), ("a/two", ["a/one"]), ("a/one", []), ("a/other", [])]
    chapters = [Chapter(name, 1, needs) for name, needs in chain]
    graph._skip(chapters)
    assert {chapter.state for chapter in chapters} == {"waiting"}
    chapters[2].state = "failed"
    graph._skip(chapters)
    assert [chapter.state for chapter in chapters] == ["skipped", "skipped", "failed", "waiting"]
    assert [chapter.cause for chapter in chapters[:2]] == ["it needs a/two", "it needs a/one"]


def test_a_chapter_that_ends_without_a_word_gets_one(chapters, checkout):
    log_of("first/one", "smoke", checkout).parent.mkdir(parents=True)
    log_of("first/one", "smoke", checkout).write_text("towers: resuming after step 3 of 9\n")
    graph._settle(chapters, {}, checkout, "smoke", checkout / "all.log")
    assert [chapter.state for chapter in chapters] == ["failed", "skipped", "skipped"]
    assert "ended without a word" in chapters[0].cause
    assert failure("first/one", "smoke").cause == chapters[0].cause
    assert chapters[1].cause.startswith("Snakemake stopped before it; its log is ")
