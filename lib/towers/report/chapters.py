"""Chapters under way: where each stands, what stopped it, and how long all of them still take."""

import contextlib
import datetime
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from towers import experiments, files, records

ERROR = "towers: error: "
CAUTION = 60.0
"""Seconds, taken as expected, beside those observed: one quick chapter says little of others."""
OVERDUE = 0.25
"""A chapter is taken to go on for this share of the time it has had, at least."""


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


def expected_seconds(experiment: experiments.Experiment, scale: str) -> float:
    """How long an experiment took last time, or a third of its budget."""
    last = last_seconds(experiment, scale)
    return 20.0 * experiment.minutes[scale] if last is None else max(1.0, last)


def seconds_left(chapters: Sequence[Chapter], jobs: int) -> float:
    """How long chapters still take, by what was expected of them and what was seen.

    What is expected is stretched by how much longer the chapters took that have ended. A chapter
    that runs is taken to go on for a quarter of its time so far at least: one that takes longer
    than anyone thought makes the estimate grow, never stand still.

    Args:
        chapters: in any state; one that runs counts as slow once it is overdue.
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
    for seconds in sorted(waiting, reverse=True):  # whoever is free first takes the longest
        heapq.heappush(workers, heapq.heappop(workers) + seconds)
    return max(workers, default=0.0)


def _ratio(chapters: Sequence[Chapter]) -> float:
    """Time that chapters took, over what was expected."""
    spent = sum(c.spent for c in chapters)
    return (CAUTION + spent) / (CAUTION + sum(c.expected for c in chapters))


def span(seconds: float) -> str:
    """A time for readers: "40 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def log_of(name: str, scale: str, root: Path | None = None) -> Path:
    """Where the report keeps what an experiment's last run printed."""
    return (root or files.repo_root()) / f"_build/logs/{scale}/{name}.log"


def last_words(log: Path) -> str:
    """The last line of a log; "" if there is none."""
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@dataclass(frozen=True)
class Failure:
    """The end of a run that gave no result.

    Attributes:
        when: UTC, to the minute.
        cause: one line.
    """

    when: str
    cause: str


def failure(name: str, scale: str) -> Failure | None:
    """How an experiment's last run in a report failed; None if it did not, or has run well since.

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
