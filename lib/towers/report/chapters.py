"""The chapters of a report: how long each takes, which starts first, what is left, what failed."""

import contextlib
import datetime
import functools
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from towers import experiments, files, records

ERROR = "towers: error: "
CAUTION = 60.0
"""Seconds that count as having gone as expected: one quick chapter says little about the others."""
OVERDUE = 0.25
"""A running chapter is expected to take at least this share of its time so far in addition."""


@dataclass
class Chapter:
    """One experiment of a report.

    Attributes:
        name: the experiment.
        expected: seconds, from its last run or its budget.
        needs: names of the experiments whose results it reads.
        state: waiting, running, done, failed or skipped.
        spent: seconds that it has run.
        cause: why it failed or was skipped.
    """

    name: str
    expected: float
    needs: Sequence[str] = ()
    state: str = "waiting"
    spent: float = 0.0
    cause: str = ""


def last_seconds(experiment: experiments.Experiment, scale: str) -> float | None:
    """How long an experiment's last good run took; None if there is none."""
    with contextlib.suppress(records.RecordsError):  # damaged: it will be run again
        if run := experiments.last_run(experiment, scale):
            return run.wall_seconds
    return None


def waiting(stale: Iterable[experiments.Experiment], scale: str) -> list[Chapter]:
    """The chapters that are to run; each is expected to take what it took last, or its budget."""
    chapters = []
    for experiment in stale:
        last = last_seconds(experiment, scale)
        expected = 60 * experiment.minutes[scale] if last is None else max(1.0, last)
        chapters.append(Chapter(experiment.name, expected, experiment.needs))
    return chapters


def priorities(chapters: Sequence[Chapter]) -> dict[str, float]:
    """How urgent each chapter is: the one that holds up the end for longest starts first.

    Returns:
        Name -> expected seconds of the chapter and of the longest chain of chapters after it, each
        of which needs the one before.
    """

    @functools.cache
    def path(name: str) -> float:
        after = (path(chapter.name) for chapter in chapters if name in chapter.needs)
        return expected[name] + max(after, default=0.0)

    expected = {chapter.name: chapter.expected for chapter in chapters}
    return {name: path(name) for name in expected}


def seconds_left(chapters: Sequence[Chapter], jobs: int) -> float:
    """Estimate how long the chapters still take.

    Expected times are multiplied by the ratio of actual to expected time of the chapters that have
    ended. A running chapter is expected to take at least a quarter of its time so far in addition,
    so that an overdue one makes the estimate grow.

    Args:
        chapters: in any state; a running one counts in the ratio once it is overdue.
        jobs: chapters at a time.

    Returns:
        Seconds, at least 0; 0 where nothing waits or runs.
    """
    done = [c for c in chapters if c.state == "done"]
    stretch = _ratio(done)
    running = [c for c in chapters if c.state == "running"]
    late = [c for c in running if c.spent > stretch * c.expected]
    stretch = max(stretch, _ratio([*done, *late]))
    busy = [max(stretch * c.expected - c.spent, OVERDUE * c.spent) for c in running]
    workers = busy + [0.0] * (jobs - len(busy))
    heapq.heapify(workers)
    waiting = [stretch * c.expected for c in chapters if c.state == "waiting"]
    for seconds in sorted(waiting, reverse=True):  # the next free worker takes the longest
        heapq.heappush(workers, heapq.heappop(workers) + seconds)
    return max(workers, default=0.0)


def _ratio(chapters: Sequence[Chapter]) -> float:
    """Time that chapters took, over their expected time."""
    spent = sum(c.spent for c in chapters)
    return (CAUTION + spent) / (CAUTION + sum(c.expected for c in chapters))


def span(seconds: float) -> str:
    """A time for readers: "40 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def log_of(name: str, scale: str, root: Path | None = None) -> Path:
    """The file with the output of an experiment's last run in a report."""
    return (root or files.repo_root()) / f"_build/logs/{scale}/{name}.log"


def last_words(log: Path) -> str:
    """The last line of a log; "" if there is none."""
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@dataclass(frozen=True)
class Failure:
    """How a run failed.

    Attributes:
        when: UTC, to the minute.
        cause: one line.
    """

    when: str
    cause: str


def failure(name: str, scale: str) -> Failure | None:
    """The failure of an experiment's last run in a report; None if it succeeded then or later.

    Args:
        name: the experiment.
        scale: of the run.
    """
    log, result = log_of(name, scale), records.folder(name, scale) / records.FILE
    words = last_words(log)
    if not words.startswith(ERROR):
        return None
    ended = log.stat().st_mtime
    if result.is_file() and result.stat().st_mtime > ended:
        return None
    when = datetime.datetime.fromtimestamp(ended, datetime.UTC).strftime("%Y-%m-%d %H:%M")
    return Failure(when, words.removeprefix(ERROR))
